package ctl

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const leaseFormats = simple | fields | asJSON

func (a *app) leaseCommand() *cobra.Command {
	return group("lease", "Lease related commands",
		a.leaseGrant(), a.leaseRevoke(), a.leaseTimeToLive(), a.leaseList(), a.leaseKeepAlive())
}

// parseLease reads a lease id as people write it: hex.
func parseLease(arg string) (client.LeaseID, error) {
	id, err := strconv.ParseInt(arg, 16, 64)
	if err != nil {
		return 0, badArgs("bad lease ID arg (%w), expecting ID in Hex", err)
	}
	return client.LeaseID(id), nil
}

func (a *app) leaseGrant() *cobra.Command {
	return &cobra.Command{
		Use:   "grant <ttl>",
		Short: "Creates leases",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("lease grant command needs TTL argument")
			}
			ttl, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return badArgs("bad TTL (%w)", err)
			}
			out, c, err := a.session(cmd, leaseFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.Grant(ctx, ttl)
			if err != nil {
				return fail(exitFailure, "failed to grant lease (%w)", err)
			}
			return out.print(view{
				simple: func(t *text) { t.line("lease %016x granted with TTL(%ds)", int64(resp.ID), resp.TTL) },
				fields: func(t *text) {
					t.header(resp.ResponseHeader)
					t.leaseID("ID", int64(resp.ID))
					t.field("TTL", resp.TTL)
				},
				json: resp,
			})
		},
	}
}

func (a *app) leaseRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke <leaseID>",
		Short: "Revokes leases",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("lease revoke command needs 1 argument")
			}
			id, err := parseLease(args[0])
			if err != nil {
				return err
			}
			out, c, err := a.session(cmd, leaseFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.Revoke(ctx, id)
			if err != nil {
				return fail(exitFailure, "failed to revoke lease (%w)", err)
			}
			return out.print(view{
				simple: func(t *text) { t.line("lease %016x revoked", int64(id)) },
				fields: func(t *text) { t.header(resp.Header) },
				json:   (*pb.LeaseRevokeResponse)(resp),
			})
		},
	}
}

func (a *app) leaseTimeToLive() *cobra.Command {
	var keys bool
	cmd := &cobra.Command{
		Use:   "timetolive <leaseID> [options]",
		Short: "Get lease information",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("lease timetolive command needs lease ID as argument")
			}
			id, err := parseLease(args[0])
			if err != nil {
				return err
			}
			out, c, err := a.session(cmd, leaseFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			var opts []client.LeaseOption
			if keys {
				opts = append(opts, client.WithAttachedKeys())
			}
			resp, err := c.TimeToLive(ctx, id, opts...)
			if err != nil {
				return withCode(exitBadConnection, err)
			}
			return out.print(timeToLiveView(resp, keys))
		},
	}
	cmd.Flags().BoolVar(&keys, "keys", false, "Get keys attached to this lease")
	return cmd
}

func timeToLiveView(resp *client.LeaseTimeToLiveResponse, keys bool) view {
	return view{
		simple: func(t *text) {
			if resp.GrantedTTL == 0 && resp.TTL == -1 {
				t.line("lease %016x already expired", int64(resp.ID))
				return
			}
			attached := ""
			if keys {
				attached = ", attached keys(" + bracketed(resp.Keys) + ")"
			}
			t.line("lease %016x granted with TTL(%ds), remaining(%ds)%s", int64(resp.ID), resp.GrantedTTL, resp.TTL, attached)
		},
		fields: func(t *text) {
			t.header(resp.ResponseHeader)
			t.leaseID("ID", int64(resp.ID))
			t.field("TTL", resp.TTL)
			t.field("GrantedTTL", resp.GrantedTTL)
			for _, k := range resp.Keys {
				t.quoted("Key", string(k))
			}
		},
		json: resp,
	}
}

// bracketed is [k1 k2].
func bracketed(keys [][]byte) string {
	b := []byte{'['}
	for i, k := range keys {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, k...)
	}
	return string(append(b, ']'))
}

func (a *app) leaseList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List all active leases",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, c, err := a.session(cmd, leaseFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.Leases(ctx)
			if err != nil {
				return withCode(exitBadConnection, err)
			}
			return out.print(view{
				simple: func(t *text) {
					t.line("found %d leases", len(resp.Leases))
					for _, l := range resp.Leases {
						t.line("%016x", int64(l.ID))
					}
				},
				fields: func(t *text) {
					t.header(resp.ResponseHeader)
					for _, l := range resp.Leases {
						t.leaseID("ID", int64(l.ID))
					}
				},
				json: resp,
			})
		},
	}
}

func (a *app) leaseKeepAlive() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "keep-alive [options] <leaseID>",
		Short: "Keeps leases alive (renew)",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("lease keep-alive command needs lease ID as argument")
			}
			id, err := parseLease(args[0])
			if err != nil {
				return err
			}
			out, c, err := a.session(cmd, leaseFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			if once {
				resp, err := c.KeepAliveOnce(cmd.Context(), id)
				if err != nil {
					return withCode(exitBadConnection, err)
				}
				return out.print(keepAliveView(resp))
			}
			renewals, err := c.KeepAlive(cmd.Context(), id)
			if err != nil {
				return withCode(exitBadConnection, err)
			}
			for resp := range renewals {
				if err := out.print(keepAliveView(resp)); err != nil {
					return err
				}
			}
			if out.format == simple {
				return out.print(view{simple: func(t *text) { t.line("lease %016x expired or revoked.", int64(id)) }})
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "Renews the lease once and exits")
	return cmd
}

func keepAliveView(resp *client.LeaseKeepAliveResponse) view {
	return view{
		simple: func(t *text) { t.line("lease %016x keepalived with TTL(%d)", int64(resp.ID), resp.TTL) },
		fields: func(t *text) {
			t.header(resp.ResponseHeader)
			t.leaseID("ID", int64(resp.ID))
			t.field("TTL", resp.TTL)
		},
		json: resp,
	}
}
