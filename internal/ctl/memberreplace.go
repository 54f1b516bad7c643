package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"github.com/cairn-kv/cairn/client"
)

// autoPromote asks that the learner which a call adds be promoted by the leader. Etcd's servers do not know of it, and add
// a learner that stays one.
func autoPromote(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "cairn-auto-promote", "true")
}

const replacePoll = 300 * time.Millisecond

// memberReplace puts a new member in the place of another. The new one is a learner until it has all data, so that the
// cluster has at no time fewer members to rely on than before; only then does the old one go. One that is down goes
// first, as the cluster adds no member while one is missing.
func (a *app) memberReplace() *cobra.Command {
	var urls string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "replace <memberID> <newMemberName> [options]",
		Short: "Replaces a member by a new one, which is to be started meanwhile",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return badArgs("member replace needs the ID of the old member and the name of the new one")
			}
			id, err := memberID(args[:1])
			if err != nil {
				return err
			}
			if urls == "" {
				return badArgs("member peer urls not provided")
			}
			out, c, err := a.session(cmd, simple)
			if err != nil {
				return err
			}
			defer c.Close()
			r := replacement{app: a, cmd: cmd, c: c, out: out, old: id, name: args[1], urls: urls}
			return r.run(wait)
		},
	}
	cmd.Flags().StringVar(&urls, "peer-urls", "", "comma separated peer URLs for the new member.")
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Minute, "how long to wait for the new member to start and catch up")
	return cmd
}

type replacement struct {
	app        *app
	cmd        *cobra.Command
	c          *client.Client
	out        *output
	old        uint64
	name, urls string
}

func (r *replacement) run(wait time.Duration) error {
	members, err := r.members()
	if err != nil {
		return err
	}
	if find(members, r.old) == nil {
		return rpctypes.ErrMemberNotFound
	}
	added, err := r.add()
	gone := false
	if errors.Is(err, rpctypes.ErrUnhealthy) || errors.Is(err, rpctypes.ErrMemberNotEnoughStarted) {
		// The old one is missing: without it the rest is whole.
		if err := r.remove(); err != nil {
			return err
		}
		gone = true
		added, err = r.add()
	}
	if err != nil {
		return err
	}
	if err := r.out.print(memberAddView((*pb.MemberAddResponse)(added), r.name, r.urls, r.out.hex)); err != nil {
		return err
	}
	if err := r.await(added.Member.ID, wait); err != nil {
		return err
	}
	if gone {
		return nil
	}
	return r.remove()
}

func (r *replacement) add() (*client.MemberAddResponse, error) {
	ctx, cancel := r.app.timed(r.cmd)
	defer cancel()
	return r.c.MemberAddAsLearner(autoPromote(ctx), strings.Split(r.urls, ","))
}

func (r *replacement) remove() error {
	ctx, cancel := r.app.timed(r.cmd)
	defer cancel()
	resp, err := r.c.MemberRemove(ctx, r.old)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.app.Stdout, "Member %16x removed from cluster %16x\n", r.old, resp.Header.ClusterId)
	return nil
}

func (r *replacement) members() ([]*pb.Member, error) {
	ctx, cancel := r.app.timed(r.cmd)
	defer cancel()
	resp, err := r.c.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	return resp.Members, nil
}

func find(members []*pb.Member, id uint64) *pb.Member {
	for _, m := range members {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// await waits until the new member votes.
func (r *replacement) await(id uint64, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(r.cmd.Context(), limit)
	defer cancel()
	fmt.Fprintf(r.app.Stdout, "\nWaiting for member %16x to be started and to catch up ...\n", id)
	for {
		members, err := r.members()
		if err == nil {
			switch m := find(members, id); {
			case m == nil:
				return fmt.Errorf("member %x was removed meanwhile", id)
			case !m.IsLearner:
				fmt.Fprintf(r.app.Stdout, "Member %16x promoted in cluster\n", id)
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("member %x has not caught up in %v: start it and promote it with `member promote`, then remove %x", id, limit, r.old)
		case <-time.After(replacePoll):
		}
	}
}
