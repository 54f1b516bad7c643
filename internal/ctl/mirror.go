package ctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

const (
	mirrorPage   = 1000             // keys per read of the base copy
	mirrorReport = 30 * time.Second // between totals on stdout
)

// mirrorOptions are the flags of make-mirror.
type mirrorOptions struct {
	prefix, destPrefix string
	noDestPrefix       bool
	rev                int64
	maxTxnOps          int
	dest               tlsFiles
	destInsecure       bool
	destUser, destPass string
	destPassGiven      bool
}

func (a *app) mirrorCommand() *cobra.Command {
	var o mirrorOptions
	cmd := &cobra.Command{
		Use:   "make-mirror [options] <destination>",
		Short: "Makes a mirror at the destination etcd cluster",
		Long: `Copies the keys of a prefix to another cluster and follows their changes until
it fails or is stopped. Every 30 seconds it prints the number of keys written.

Leases, versions and revisions are not copied, and neither are deletions from
before the copy.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("make-mirror takes one destination argument")
			}
			if o.noDestPrefix && cmd.Flags().Changed("dest-prefix") {
				return badArgs("`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one")
			}
			o.destPassGiven = cmd.Flags().Changed("dest-password")
			_, src, err := a.session(cmd, plain)
			if err != nil {
				return err
			}
			defer src.Close()
			dst, err := a.connectDestination(&o, args[0])
			if err != nil {
				return err
			}
			defer dst.Close()
			m := &mirror{src: src, dst: dst, opts: o}
			return a.reportMirror(cmd.Context(), m)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.prefix, "prefix", "", "Key-value prefix to mirror")
	f.Int64Var(&o.rev, "rev", 0, "Specify the kv revision to start to mirror")
	f.IntVar(&o.maxTxnOps, "max-txn-ops", 128, "Maximum number of operations permitted in a transaction during syncing updates.")
	f.StringVar(&o.destPrefix, "dest-prefix", "", "destination prefix to mirror a prefix to a different prefix in the destination cluster")
	f.BoolVar(&o.noDestPrefix, "no-dest-prefix", false, "mirror key-values to the root of the destination cluster")
	f.StringVar(&o.dest.cert, "dest-cert", "", "Identify secure client using this TLS certificate file for the destination cluster")
	f.StringVar(&o.dest.key, "dest-key", "", "Identify secure client using this TLS key file")
	f.StringVar(&o.dest.ca, "dest-cacert", "", "Verify certificates of TLS enabled secure servers using this CA bundle")
	f.BoolVar(&o.destInsecure, "dest-insecure-transport", true, "Disable transport security for client connections")
	f.StringVar(&o.destUser, "dest-user", "", "Destination username[:password] for authentication (prompt if password is not supplied)")
	f.StringVar(&o.destPass, "dest-password", "", "Destination password for authentication (if this option is used, --dest-user option shouldn't include password)")
	return cmd
}

func (a *app) connectDestination(o *mirrorOptions, endpoint string) (*client.Client, error) {
	cfg, err := a.baseConfig(o.dest, o.destInsecure)
	if err != nil {
		return nil, err
	}
	cfg.Endpoints = []string{endpoint}
	cfg.Username, cfg.Password, err = a.credentials(o.destUser, o.destPass, o.destPassGiven, "Destination Password: ")
	if err != nil {
		return nil, err
	}
	return a.connect(*cfg)
}

// reportMirror runs the mirror and prints its total from time to time.
func (a *app) reportMirror(ctx context.Context, m *mirror) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for a.sleep(ctx, mirrorReport) == nil {
			fmt.Fprintln(a.Stdout, m.total.Load())
		}
	}()
	err := m.run(ctx)
	cancel()
	<-done
	return err
}

// mirror copies from src to dst. One goroutine runs it; total may be read by
// others.
type mirror struct {
	src, dst *client.Client
	opts     mirrorOptions
	total    atomic.Int64
}

// run never returns nil: a mirror that ended did not do its work.
func (m *mirror) run(ctx context.Context) error {
	if m.opts.maxTxnOps <= 0 {
		return badArgs("--max-txn-ops must be positive")
	}
	rev := m.opts.rev
	if rev < 2 {
		base, err := m.copyBase(ctx)
		if err != nil {
			return err
		}
		rev = base + 1
	}
	return m.followFrom(ctx, rev)
}

// target maps a source key to its place at the destination.
func (m *mirror) target(key []byte) string {
	rest := strings.TrimPrefix(string(key), m.opts.prefix)
	switch {
	case m.opts.noDestPrefix:
		return rest
	case m.opts.destPrefix != "":
		return m.opts.destPrefix + rest
	}
	return string(key)
}

// copyBase puts every key as of one revision, which it returns.
func (m *mirror) copyBase(ctx context.Context) (int64, error) {
	next, end := m.opts.prefix, client.GetPrefixRangeEnd(m.opts.prefix)
	if next == "" {
		next, end = "\x00", "\x00"
	}
	rev := int64(0)
	for {
		page, err := m.src.Get(ctx, next, client.WithRange(end), client.WithLimit(mirrorPage), client.WithRev(rev))
		if err != nil {
			return 0, err
		}
		if rev == 0 {
			rev = page.Header.GetRevision()
		}
		for _, kv := range page.Kvs {
			if _, err := m.dst.Put(ctx, m.target(kv.Key), string(kv.Value)); err != nil {
				return 0, err
			}
			m.total.Add(1)
		}
		if !page.More || len(page.Kvs) == 0 {
			return rev, nil
		}
		next = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// followFrom repeats the changes from rev on. The events of one revision go into
// one transaction, as far as --max-txn-ops allows.
func (m *mirror) followFrom(ctx context.Context, rev int64) error {
	var ops []client.Op
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := m.dst.Txn(ctx).Then(ops...).Commit()
		m.total.Add(int64(len(ops)))
		ops = ops[:0]
		return err
	}
	for resp := range m.src.Watch(ctx, m.opts.prefix, client.WithPrefix(), client.WithRev(rev)) {
		if err := resp.Err(); err != nil {
			return err
		}
		last := int64(0)
		for _, ev := range resp.Events {
			if (last != 0 && ev.Kv.ModRevision != last) || len(ops) == m.opts.maxTxnOps {
				if err := flush(); err != nil {
					return err
				}
			}
			last = ev.Kv.ModRevision
			if ev.Type == client.EventTypeDelete {
				ops = append(ops, client.OpDelete(m.target(ev.Kv.Key)))
			} else {
				ops = append(ops, client.OpPut(m.target(ev.Kv.Key), string(ev.Kv.Value)))
			}
		}
		if err := flush(); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("the watch on the source has ended")
}
