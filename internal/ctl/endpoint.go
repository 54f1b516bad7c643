package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const endpointFormats = simple | fields | asJSON | table

func (a *app) endpointCommand() *cobra.Command {
	var cluster bool
	cmd := group("endpoint", "Endpoint related commands",
		a.endpointHealth(&cluster), a.endpointStatus(&cluster), a.endpointHashKV(&cluster))
	cmd.PersistentFlags().BoolVar(&cluster, "cluster", false, "use all endpoints from the cluster member list")
	return cmd
}

// clusterEndpoints replaces the endpoints of cfg by those of all members.
func (a *app) clusterEndpoints(ctx context.Context, cfg *client.Config) error {
	c, err := a.connect(*cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, a.flags.commandTimeout)
	defer cancel()
	resp, err := c.MemberList(ctx)
	if err != nil {
		return fmt.Errorf("failed to fetch endpoints from etcd cluster member list: %w", err)
	}
	var eps []string
	for _, m := range resp.Members {
		eps = append(eps, m.ClientURLs...)
	}
	cfg.Endpoints = eps
	return nil
}

// each calls visit with a client for one endpoint after the other, each with its
// own deadline. visit gets the error of connecting too.
func (a *app) each(ctx context.Context, cfg *client.Config, visit func(ctx context.Context, ep string, c *client.Client, err error)) {
	for _, ep := range cfg.Endpoints {
		c, err := a.connectTo(cfg, ep)
		one, cancel := context.WithTimeout(ctx, a.flags.commandTimeout)
		visit(one, ep, c, err)
		cancel()
		if c != nil {
			c.Close()
		}
	}
}

// setupEndpoints is setup for commands that address single endpoints.
func (a *app) setupEndpoints(cmd *cobra.Command, formats format, cluster *bool) (*output, *client.Config, error) {
	out, cfg, err := a.setup(cmd, formats)
	if err == nil && *cluster {
		err = a.clusterEndpoints(cmd.Context(), cfg)
	}
	return out, cfg, err
}

type endpointStatus struct {
	Endpoint string             `json:"Endpoint"`
	Status   *pb.StatusResponse `json:"Status"`
}

func (a *app) endpointStatus(cluster *bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Prints out the status of endpoints specified in `--endpoints` flag",
		Long: `Prints out the status of endpoints specified in --endpoints.

In simple format the columns are: Endpoint, ID, Version, Storage Version, DB
Size, In Use, Percentage Not In Use, Quota, Is Leader, Is Learner, Raft Term,
Raft Index, Raft Applied Index, Errors, Downgrade Target Version, Downgrade
Enabled.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, cfg, err := a.setupEndpoints(cmd, endpointFormats, cluster)
			if err != nil {
				return err
			}
			var list []endpointStatus
			failed := false
			a.each(cmd.Context(), cfg, func(ctx context.Context, ep string, c *client.Client, err error) {
				var resp *client.StatusResponse
				if err == nil {
					resp, err = c.Status(ctx, "")
				}
				if err != nil {
					failed = true
					fmt.Fprintf(a.Stderr, "Failed to get the status of endpoint %s (%v)\n", ep, err)
					return
				}
				list = append(list, endpointStatus{ep, (*pb.StatusResponse)(resp)})
			})
			if err := out.print(statusView(list)); err != nil {
				return err
			}
			if failed {
				return silently(exitFailure)
			}
			return nil
		},
	}
	return cmd
}

type endpointHash struct {
	Endpoint string             `json:"Endpoint"`
	HashKV   *pb.HashKVResponse `json:"HashKV"`
}

func (a *app) endpointHashKV(cluster *bool) *cobra.Command {
	var rev int64
	cmd := &cobra.Command{
		Use:   "hashkv",
		Short: "Prints the KV history hash for each endpoint in --endpoints",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, cfg, err := a.setupEndpoints(cmd, endpointFormats, cluster)
			if err != nil {
				return err
			}
			var list []endpointHash
			var last error
			a.each(cmd.Context(), cfg, func(ctx context.Context, ep string, c *client.Client, err error) {
				var resp *client.HashKVResponse
				if err == nil {
					resp, err = c.HashKV(ctx, "", rev)
				}
				if err != nil {
					last = err
					fmt.Fprintf(a.Stderr, "Failed to get the hash of endpoint %s (%v)\n", ep, err)
					return
				}
				list = append(list, endpointHash{ep, (*pb.HashKVResponse)(resp)})
			})
			if err := out.print(hashView(list)); err != nil {
				return err
			}
			return withCode(exitFailure, last)
		},
	}
	cmd.Flags().Int64Var(&rev, "rev", 0, "maximum revision to hash (default: latest revision)")
	return cmd
}
