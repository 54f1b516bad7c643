package ctl2

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/internal/v2client"
)

const guide = "https://github.com/cairn-kv/cairn/blob/main/docs/guide/cluster.md"

func (a *app) memberListCommand() *command {
	return &command{
		name: "list", short: "enumerate existing cluster members",
		run: func(args []string) error {
			if len(args) != 0 {
				return refuse("No arguments accepted")
			}
			return refused(a.call(func(ctx context.Context, c *v2client.Client) error {
				members, err := c.Members(ctx)
				if err != nil {
					return err
				}
				leader, err := c.Leader(ctx)
				if err != nil {
					return fmt.Errorf("Failed to get leader:  %w", err) //lint:ignore ST1005 the words that users know
				}
				for _, m := range members {
					peers := strings.Join(m.PeerURLs, ",")
					if m.Name == "" {
						a.say("%s[unstarted]: peerURLs=%s", m.ID, peers)
						continue
					}
					a.say("%s: name=%s peerURLs=%s clientURLs=%s isLeader=%t", m.ID, m.Name, peers, strings.Join(m.ClientURLs, ","), m.ID == leader.ID)
				}
				return nil
			}))
		},
	}
}

func (a *app) memberAddCommand() *command {
	return &command{
		name: "add", short: "add a new member to the etcd cluster", args: "<name> <peerURL>",
		run: func(args []string) error {
			if len(args) != 2 {
				return refuse("Provide a name and a single member peerURL")
			}
			name := args[0]
			return refused(a.call(func(ctx context.Context, c *v2client.Client) error {
				added, err := c.AddMember(ctx, args[1])
				if err != nil {
					return err
				}
				a.say("Added member named %s with ID %s to cluster\n", name, added.ID)
				members, err := c.Members(ctx)
				if err != nil {
					return err
				}
				var initial []string
				for _, m := range members {
					if m.ID == added.ID {
						m.Name = name
					}
					for _, u := range m.PeerURLs {
						initial = append(initial, m.Name+"="+u)
					}
				}
				a.say("ETCD_NAME=%q", name)
				a.say("ETCD_INITIAL_CLUSTER=%q", strings.Join(initial, ","))
				a.say(`ETCD_INITIAL_CLUSTER_STATE="existing"`)
				return nil
			}))
		},
	}
}

func (a *app) memberRemoveCommand() *command {
	return &command{
		name: "remove", short: "remove an existing member from the etcd cluster", args: "<memberID>",
		run: func(args []string) error {
			if len(args) != 1 {
				return refuse("Provide a single member ID")
			}
			id := args[0]
			return refused(a.call(func(ctx context.Context, c *v2client.Client) error {
				members, err := c.Members(ctx)
				if err != nil {
					return fmt.Errorf("Error while verifying ID against known members: %w", err)
				}
				for _, m := range members {
					if m.Name == id {
						a.warn("Found a member named %s; if this is correct, please use its ID, eg:\n\tetcdctl member remove %s", m.Name, m.ID)
						a.warn("For more details, read %s\n", guide)
					}
				}
				if !slices.ContainsFunc(members, func(m v2client.Member) bool { return m.ID == id }) {
					return refuse("Couldn't find a member in the cluster with an ID of %s.", id)
				}
				if err := c.RemoveMember(ctx, id); err != nil {
					fmt.Fprintf(a.Stderr, "Received an error trying to remove member %s: %v", id, err)
					return silently(exitFailure)
				}
				a.say("Removed member %s from cluster", id)
				return nil
			}))
		},
	}
}

func (a *app) memberUpdateCommand() *command {
	return &command{
		name: "update", short: "update an existing member in the etcd cluster", args: "<memberID> <peerURLs>",
		run: func(args []string) error {
			if len(args) != 2 {
				return refuse("Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)")
			}
			return refused(a.call(func(ctx context.Context, c *v2client.Client) error {
				if err := c.UpdateMember(ctx, args[0], strings.Split(args[1], ",")); err != nil {
					return err
				}
				a.say("Updated member with ID %s in cluster", args[0])
				return nil
			}))
		},
	}
}
