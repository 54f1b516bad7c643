package ctl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const memberFormats = simple | asJSON | protobuf

func (a *app) memberCommand() *cobra.Command {
	return group("member", "Membership related commands",
		a.memberAdd(), a.memberRemove(), a.memberReplace(), a.memberUpdate(), a.memberList(), a.memberPromote(), a.memberHeal())
}

// memberID reads the one argument of a member command: hex.
func memberID(args []string) (uint64, error) {
	if len(args) != 1 {
		return 0, badArgs("member ID is not provided")
	}
	id, err := strconv.ParseUint(args[0], 16, 64)
	if err != nil {
		return 0, badArgs("bad member ID arg (%w), expecting ID in Hex", err)
	}
	return id, nil
}

func (a *app) memberAdd() *cobra.Command {
	var urls string
	var learner, promote bool
	cmd := &cobra.Command{
		Use:   "add <memberName> [options]",
		Short: "Adds a member into the cluster",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 {
				return badArgs("member name not provided")
			}
			if len(args) > 1 {
				text := "too many arguments"
				for _, arg := range args {
					if strings.HasPrefix(strings.ToLower(arg), "http") {
						text += fmt.Sprintf(`, did you mean --peer-urls=%s`, arg)
					}
				}
				return badArgs("%s", text)
			}
			if urls == "" {
				return badArgs("member peer urls not provided")
			}
			out, c, err := a.session(cmd, memberFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			add := c.MemberAdd
			if learner || promote {
				add = c.MemberAddAsLearner
			}
			if promote {
				ctx = autoPromote(ctx)
			}
			resp, err := add(ctx, strings.Split(urls, ","))
			if err != nil {
				return err
			}
			return out.print(memberAddView((*pb.MemberAddResponse)(resp), args[0], urls, out.hex))
		},
	}
	cmd.Flags().StringVar(&urls, "peer-urls", "", "comma separated peer URLs for the new member.")
	cmd.Flags().BoolVar(&learner, "learner", false, "indicates if the new member is raft learner")
	cmd.Flags().BoolVar(&promote, "auto-promote", false, "add a learner that the leader promotes once it has caught up")
	return cmd
}

func memberAddView(resp *pb.MemberAddResponse, name, urls string, hex bool) view {
	return view{
		simple: func(t *text) {
			as := ""
			if resp.Member.GetIsLearner() {
				as = "as learner "
			}
			t.line("Member %16x added %sto cluster %16x", resp.Member.GetID(), as, resp.Header.GetClusterId())
			var cluster []string
			for _, m := range resp.Members {
				for _, u := range m.PeerURLs {
					n := m.Name
					if m.ID == resp.Member.GetID() {
						n = name
					}
					cluster = append(cluster, n+"="+u)
				}
			}
			t.line("")
			t.line("ETCD_NAME=%q", name)
			t.line("ETCD_INITIAL_CLUSTER=%q", joined(cluster))
			t.line("ETCD_INITIAL_ADVERTISE_PEER_URLS=%q", urls)
			t.line(`ETCD_INITIAL_CLUSTER_STATE="existing"`)
		},
		json:  membersJSON(resp, resp.Header, resp.Member, resp.Members, hex),
		proto: resp,
	}
}

func (a *app) memberRemove() *cobra.Command {
	return a.memberChange("remove <memberID>", "Removes a member from the cluster", "removed from", nil,
		func(cmd *cobra.Command, c *client.Client, id uint64) (memberResponse, error) {
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.MemberRemove(ctx, id)
			return (*pb.MemberRemoveResponse)(resp), err
		})
}

func (a *app) memberUpdate() *cobra.Command {
	var urls string
	check := func() error {
		if urls == "" {
			return badArgs("member peer urls not provided")
		}
		return nil
	}
	cmd := a.memberChange("update <memberID> [options]", "Updates a member in the cluster", "updated in", check,
		func(cmd *cobra.Command, c *client.Client, id uint64) (memberResponse, error) {
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.MemberUpdate(ctx, id, strings.Split(urls, ","))
			return (*pb.MemberUpdateResponse)(resp), err
		})
	cmd.Flags().StringVar(&urls, "peer-urls", "", "comma separated peer URLs for the updated member.")
	return cmd
}

func (a *app) memberPromote() *cobra.Command {
	cmd := a.memberChange("promote <memberID>", "Promotes a non-voting member in the cluster", "promoted in", nil,
		func(cmd *cobra.Command, c *client.Client, id uint64) (memberResponse, error) {
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.MemberPromote(ctx, id)
			return (*pb.MemberPromoteResponse)(resp), err
		})
	cmd.Long = "Promotes a non-voting learner member to a voting one in the cluster."
	return cmd
}

// memberResponse is what the responses of all changes have.
type memberResponse interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
	GetMembers() []*pb.Member
}

// memberChange is a command with one member id and a response of the same shape.
func (a *app) memberChange(use, short, done string, check func() error, call func(*cobra.Command, *client.Client, uint64) (memberResponse, error)) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := memberID(args)
			if err != nil {
				return err
			}
			if check != nil {
				if err := check(); err != nil {
					return err
				}
			}
			out, c, err := a.session(cmd, memberFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			resp, err := call(cmd, c, id)
			if err != nil {
				return err
			}
			return out.print(view{
				simple: func(t *text) { t.line("Member %16x %s cluster %16x", id, done, resp.GetHeader().GetClusterId()) },
				json:   membersJSON(resp, resp.GetHeader(), nil, resp.GetMembers(), out.hex),
				proto:  resp,
			})
		},
	}
}

// memberHeal has the member behind the endpoint exchange its data for that of the others.
func (a *app) memberHeal() *cobra.Command {
	return &cobra.Command{
		Use:   "heal",
		Short: "Has the member at --endpoints exchange its data for that of the others",
		Long:  "Has the member at the one endpoint given exchange its data for that of the others, and ends its CORRUPT alarm once it holds what they hold.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArgs("member heal takes no arguments: the member is the one at --endpoints")
			}
			out, cfg, err := a.setup(cmd, simple)
			if err != nil {
				return err
			}
			if len(cfg.Endpoints) != 1 {
				return badArgs("member heal needs exactly one endpoint")
			}
			c, err := a.connect(*cfg)
			if err != nil {
				return err
			}
			defer c.Close()
			// It takes as long as the data is large; the command timeout is for short ones.
			if err := c.ActiveConnection().Invoke(cmd.Context(), "/cairn.Repair/Heal", new(emptypb.Empty), new(emptypb.Empty)); err != nil {
				return err
			}
			return out.print(view{simple: func(t *text) { t.line("The member at %s holds what the others hold", cfg.Endpoints[0]) }})
		},
	}
}
