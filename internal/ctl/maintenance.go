package ctl

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (a *app) alarmCommand() *cobra.Command {
	return group("alarm", "Alarm related commands",
		a.alarmSub("list", "Lists all alarms", func(ctx context.Context, c *client.Client) (*client.AlarmResponse, error) {
			return c.AlarmList(ctx)
		}),
		a.alarmSub("disarm", "Disarms all alarms", func(ctx context.Context, c *client.Client) (*client.AlarmResponse, error) {
			return c.AlarmDisarm(ctx, &client.AlarmMember{})
		}))
}

func (a *app) alarmSub(name, short string, call func(context.Context, *client.Client) (*client.AlarmResponse, error)) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArgs("alarm %s command accepts no arguments", name)
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			r, err := call(ctx, c)
			if err != nil {
				return err
			}
			resp := (*pb.AlarmResponse)(r)
			return out.print(view{
				simple: func(t *text) {
					for _, al := range resp.Alarms {
						t.line("memberID:%d alarm:%s", al.MemberID, al.Alarm)
					}
				},
				fields: func(t *text) {
					t.header(resp.Header)
					for _, al := range resp.Alarms {
						t.id("MemberID", al.MemberID)
						t.field("AlarmType", al.Alarm)
						t.line("")
					}
				},
				json:  resp,
				proto: resp,
			})
		},
	}
}

func (a *app) defragCommand() *cobra.Command {
	var cluster bool
	cmd := &cobra.Command{
		Use:   "defrag",
		Short: "Defragments the storage of the etcd members with given endpoints",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, cfg, err := a.setupEndpoints(cmd, plain, &cluster)
			if err != nil {
				return err
			}
			failed := false
			a.each(cmd.Context(), cfg, func(ctx context.Context, ep string, c *client.Client, err error) {
				began := time.Now()
				if err == nil {
					_, err = c.Defragment(ctx, "")
				}
				if took := time.Since(began); err != nil {
					failed = true
					fmt.Fprintf(a.Stderr, "Failed to defragment etcd member[%s]. took %s. (%v)\n", ep, took, err)
				} else {
					fmt.Fprintf(a.Stdout, "Finished defragmenting etcd member[%s]. took %s\n", ep, took)
				}
			})
			if failed {
				return silently(exitFailure)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&cluster, "cluster", false, "use all endpoints from the cluster member list")
	return cmd
}

func (a *app) moveLeaderCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "move-leader <transferee-member-id>",
		Short: "Transfers leadership to another etcd cluster member.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("move-leader command needs 1 argument")
			}
			target, err := strconv.ParseUint(args[0], 16, 64)
			if err != nil {
				return withCode(exitBadArgs, err)
			}
			out, cfg, err := a.setup(cmd, simple|asJSON|protobuf)
			if err != nil {
				return err
			}
			ctx, cancel := a.timed(cmd)
			defer cancel()
			c, leader, err := a.findLeader(ctx, cfg)
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.MoveLeader(ctx, target)
			if err != nil {
				return err
			}
			resp := (*pb.MoveLeaderResponse)(r)
			return out.print(view{
				simple: func(t *text) { t.line("Leadership transferred from %x to %x", leader, target) },
				json:   resp,
				proto:  resp,
			})
		},
	}
}

// findLeader asks the endpoints in turn until one leads, and returns a client
// for that one.
func (a *app) findLeader(ctx context.Context, cfg *client.Config) (*client.Client, uint64, error) {
	for _, ep := range cfg.Endpoints {
		c, err := a.connectTo(cfg, ep)
		if err != nil {
			return nil, 0, err
		}
		st, err := c.Status(ctx, "")
		if err == nil && st.Leader == st.Header.GetMemberId() {
			return c, st.Leader, nil
		}
		c.Close()
		if err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, badArgs("no leader endpoint given at %v", cfg.Endpoints)
}

func (a *app) downgradeCommand() *cobra.Command {
	return group("downgrade", "Downgrade related commands",
		a.downgradeSub("validate <TARGET_VERSION>", "Validate downgrade capability before starting downgrade", client.DowngradeValidate),
		a.downgradeSub("enable <TARGET_VERSION>", "Start a downgrade action to cluster", client.DowngradeEnable),
		a.downgradeSub("cancel", "Cancel the ongoing downgrade action to cluster", client.DowngradeCancel))
}

func (a *app) downgradeSub(use, short string, action client.DowngradeAction) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			version := ""
			if action != client.DowngradeCancel {
				switch {
				case len(args) < 1:
					return badArgs("TARGET_VERSION not provided")
				case len(args) > 1:
					return badArgs("too many arguments")
				case args[0] == "":
					return badArgs("target version not provided")
				}
				version = args[0]
			}
			out, c, err := a.session(cmd, simple|asJSON|protobuf)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			r, err := c.Downgrade(ctx, action, version)
			if err != nil {
				return err
			}
			resp := (*pb.DowngradeResponse)(r)
			return out.print(view{
				simple: func(t *text) { t.line("Downgrade %s success, cluster version %s", cmd.Name(), resp.Version) },
				json:   resp,
				proto:  resp,
			})
		},
	}
}
