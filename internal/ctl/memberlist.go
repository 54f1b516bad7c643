package ctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (a *app) memberList() *cobra.Command {
	var consistency string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists all members in the cluster",
		Long: `Lists all members in the cluster.

In simple format the columns are: ID, Status, Name, Peer Addrs, Client Addrs,
Is Learner.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var opts []client.OpOption
			switch consistency {
			case "l":
			case "s":
				opts = append(opts, client.WithSerializable())
			default:
				return fail(exitBadFeature, "unknown consistency flag %q", consistency)
			}
			out, c, err := a.session(cmd, memberFormats|fields|table)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.MemberList(ctx, opts...)
			if err != nil {
				return err
			}
			return out.print(memberListView((*pb.MemberListResponse)(resp), out.hex))
		},
	}
	cmd.Flags().StringVar(&consistency, "consistency", "l", "Linearizable(l) or Serializable(s)")
	_ = cmd.RegisterFlagCompletionFunc("consistency", words("l", "s"))
	return cmd
}

func memberListView(resp *pb.MemberListResponse, hex bool) view {
	rows := make([][]string, len(resp.Members))
	for i, m := range resp.Members {
		status := "started"
		if m.Name == "" {
			status = "unstarted"
		}
		rows[i] = []string{
			fmt.Sprintf("%x", m.ID), status, m.Name,
			joined(m.PeerURLs), joined(m.ClientURLs), strconv.FormatBool(m.IsLearner),
		}
	}
	return view{
		simple: func(t *text) { t.columns(rows) },
		table: func() ([]string, [][]string) {
			return []string{"ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"}, rows
		},
		fields: func(t *text) {
			t.header(resp.Header)
			for _, m := range resp.Members {
				t.id("ID", m.ID)
				t.quoted("Name", m.Name)
				for _, u := range m.PeerURLs {
					t.quoted("PeerURL", u)
				}
				for _, u := range m.ClientURLs {
					t.quoted("ClientURL", u)
				}
				t.field("IsLearner", m.IsLearner)
				t.line("")
			}
		},
		json:  membersJSON(resp, resp.Header, nil, resp.Members, hex),
		proto: resp,
	}
}

// The same responses with their ids in hex, for --hex.
type (
	hexHeader struct {
		ClusterID string `json:"cluster_id"`
		MemberID  string `json:"member_id"`
		Revision  int64  `json:"revision,omitempty"`
		RaftTerm  uint64 `json:"raft_term,omitempty"`
	}
	hexMember struct {
		ID         string   `json:"ID"`
		Name       string   `json:"name,omitempty"`
		PeerURLs   []string `json:"peerURLs,omitempty"`
		ClientURLs []string `json:"clientURLs,omitempty"`
		IsLearner  bool     `json:"isLearner,omitempty"`
	}
	hexMembers struct {
		Header  hexHeader   `json:"header"`
		Member  *hexMember  `json:"member,omitempty"`
		Members []hexMember `json:"members,omitempty"`
	}
)

// membersJSON is resp itself, or its hex form made of the other arguments.
func membersJSON(resp any, h *pb.ResponseHeader, one *pb.Member, all []*pb.Member, hex bool) any {
	if !hex {
		return resp
	}
	convert := func(m *pb.Member) hexMember {
		return hexMember{fmt.Sprintf("%x", m.ID), m.Name, m.PeerURLs, m.ClientURLs, m.IsLearner}
	}
	r := hexMembers{Header: hexHeader{
		fmt.Sprintf("%x", h.GetClusterId()), fmt.Sprintf("%x", h.GetMemberId()), h.GetRevision(), h.GetRaftTerm(),
	}}
	if one != nil {
		m := convert(one)
		r.Member = &m
	}
	for _, m := range all {
		r.Members = append(r.Members, convert(m))
	}
	return r
}
