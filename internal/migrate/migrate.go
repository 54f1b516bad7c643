// Package migrate copies keys of the v2 API to keys of v3.
//
// It must never change what it copies from, nor overwrite what it was not told to. It does not know whether both sides are one
// cluster.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/v2client"
)

const (
	batchKeys  = 100     // of one transaction; servers take 128 operations
	batchBytes = 1 << 20 // of its keys and values; servers take 1.5 MiB
)

// Source is where keys come from.
type Source interface {
	Get(ctx context.Context, key string, o v2client.GetOptions) (*v2client.Result, error)
}

// Target is where they go to.
type Target interface {
	Txn(ctx context.Context) client.Txn
	Grant(ctx context.Context, ttlSeconds int64) (*client.LeaseGrantResponse, error)
}

// Config says what is copied.
type Config struct {
	From   Source
	To     Target
	Dirs   []string // with all that is below them; hidden nodes only where they are named
	Prefix string   // of the new keys; the path follows, with its slash
	// Overwrite replaces keys of other values, which are left alone otherwise.
	Overwrite bool
	DryRun    bool
}

// Report is what a copy came to.
type Report struct {
	Index     uint64 // of the v2 keyspace when the first directory was read
	Copied    int
	Same      int // keys that were there with their values
	Leases    int
	Conflicts []string // keys that are there with other values
}

// entry is one key on its way.
type entry struct {
	key, value string
	ttl        int64 // in seconds; 0 for none
}

// Run copies. What was copied before an error stays, and a second run goes on.
func Run(ctx context.Context, cfg Config) (Report, error) {
	var r Report
	byTTL := map[int64][]entry{}
	for _, dir := range cfg.Dirs {
		res, err := cfg.From.Get(ctx, dir, v2client.GetOptions{Recursive: true, Sorted: true, Quorum: true})
		if err != nil {
			return r, fmt.Errorf("migrate: reading %s: %w", dir, err)
		}
		if r.Index == 0 {
			r.Index = res.Index
		}
		collect(res.Node, 0, cfg.Prefix, byTTL)
	}
	for _, ttl := range slices.Sorted(maps.Keys(byTTL)) {
		if err := cfg.copy(ctx, ttl, byTTL[ttl], &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// collect sorts keys by their times to live. A key does not live longer than the directories it is in.
func collect(n *v2client.Node, inherited int64, prefix string, byTTL map[int64][]entry) {
	ttl := inherited
	if n.TTL > 0 && (ttl == 0 || n.TTL < ttl) {
		ttl = n.TTL
	}
	if !n.Dir {
		if n.Key != "" {
			byTTL[ttl] = append(byTTL[ttl], entry{prefix + n.Key, n.Value, ttl})
		}
		return
	}
	for _, child := range n.Nodes {
		collect(child, ttl, prefix, byTTL)
	}
}

// copy writes keys that end at the same time. They share a lease.
func (c *Config) copy(ctx context.Context, ttl int64, entries []entry, r *Report) error {
	var lease client.LeaseID
	for len(entries) > 0 {
		n, bytes := 0, 0
		for n < len(entries) && n < batchKeys && (n == 0 || bytes+len(entries[n].key)+len(entries[n].value) <= batchBytes) {
			bytes += len(entries[n].key) + len(entries[n].value)
			n++
		}
		batch := entries[:n]
		entries = entries[n:]
		missing, err := c.missing(ctx, batch, r)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			continue
		}
		if ttl > 0 && lease == 0 {
			if lease, err = c.grant(ctx, ttl, r); err != nil {
				return err
			}
		}
		if err := c.put(ctx, missing, lease, r); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) grant(ctx context.Context, ttl int64, r *Report) (client.LeaseID, error) {
	r.Leases++
	if c.DryRun {
		return 0, nil
	}
	g, err := c.To.Grant(ctx, ttl)
	if err != nil {
		return 0, fmt.Errorf("migrate: a lease of %d s: %w", ttl, err)
	}
	return g.ID, nil
}

// candidate is an entry that is to be put, and the revision at which something else is in its place; 0 for nothing.
type candidate struct {
	entry
	rev int64
}

// missing are the entries that are not there. What is there with another value is a conflict, or is to be overwritten.
func (c *Config) missing(ctx context.Context, batch []entry, r *Report) (out []candidate, err error) {
	gets := make([]client.Op, len(batch))
	for i, e := range batch {
		gets[i] = client.OpGet(e.key)
	}
	res, err := c.To.Txn(ctx).Then(gets...).Commit()
	if err != nil {
		return nil, fmt.Errorf("migrate: looking for %q and %d more: %w", batch[0].key, len(batch)-1, err)
	}
	for i, e := range batch {
		kvs := res.Responses[i].GetResponseRange().GetKvs()
		switch {
		case len(kvs) == 0:
			out = append(out, candidate{entry: e})
		case string(kvs[0].Value) == e.value:
			r.Same++
		case c.Overwrite:
			out = append(out, candidate{e, kvs[0].ModRevision})
		default:
			r.Conflicts = append(r.Conflicts, e.key)
		}
	}
	return out, nil
}

// errChanged says that somebody else writes the same keys.
var errChanged = errors.New("migrate: keys have changed meanwhile; run it again when nobody else writes them")

// put writes entries unless something has come in their place since they were looked for.
func (c *Config) put(ctx context.Context, entries []candidate, lease client.LeaseID, r *Report) error {
	if c.DryRun {
		r.Copied += len(entries)
		return nil
	}
	var still []client.Cmp
	var puts []client.Op
	for _, e := range entries {
		still = append(still, client.Compare(client.ModRevision(e.key), "=", e.rev))
		puts = append(puts, client.OpPut(e.key, e.value, client.WithLease(lease)))
	}
	res, err := c.To.Txn(ctx).If(still...).Then(puts...).Commit()
	switch {
	case err != nil:
		return fmt.Errorf("migrate: putting %q and %d more: %w", entries[0].key, len(entries)-1, err)
	case !res.Succeeded:
		return fmt.Errorf("%w: one of %q to %q", errChanged, entries[0].key, entries[len(entries)-1].key)
	}
	r.Copied += len(entries)
	return nil
}

// String tells what has happened.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d keys copied, %d were there already, %d leases for those that end; the v2 keys are those of index %d\n", r.Copied, r.Same, r.Leases, r.Index)
	for _, k := range r.Conflicts {
		fmt.Fprintf(&b, "not copied, as there is another value: %q\n", k)
	}
	return b.String()
}
