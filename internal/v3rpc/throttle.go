package v3rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// throttle holds requests to the rates that are set. Each member judges what it is asked itself, before anything else is done
// for it. There are two buckets for each rule at most.
type throttle struct {
	mu  sync.Mutex
	now atomic.Pointer[buckets]
}

// buckets are those of one set of rules.
type buckets struct {
	set *limits.Set
	of  map[*limits.Rule]*bucket
}

type bucket struct{ writes, reads *rate.Limiter } // nil where there is no limit

func newBucket(r *limits.Rule) *bucket {
	b := &bucket{}
	if r.WritesPerSecond > 0 {
		b.writes = rate.NewLimiter(rate.Limit(r.WritesPerSecond), int(r.WriteBurst))
	}
	if r.ReadsPerSecond > 0 {
		b.reads = rate.NewLimiter(rate.Limit(r.ReadsPerSecond), int(r.ReadBurst))
	}
	return b
}

// buckets are those of the rules as they are now. Rules that have not changed keep theirs.
func (t *throttle) buckets(view func() *machine.View) *buckets {
	if b := t.now.Load(); b != nil && b.set == view().Limits {
		return b
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	set, old := view().Limits, t.now.Load()
	if old != nil && old.set == set {
		return old
	}
	b := &buckets{set: set, of: map[*limits.Rule]*bucket{}}
	for r := range set.All() {
		if old != nil && old.of[r] != nil {
			b.of[r] = old.of[r]
		} else {
			b.of[r] = newBucket(r)
		}
	}
	t.now.Store(b)
	return b
}

// load is what a request asks for: how many writes and reads altogether, and how many of each rule for a prefix.
type load struct {
	set           *limits.Set
	writes, reads int
	of            []charge
	needs         []auth.Need          // permissions; only where somebody looks at them
	guarded       bool                 // somebody does
	place         map[*limits.Rule]int // in of; only where there may be several operations
}

type charge struct {
	rule          *limits.Rule
	writes, reads int
}

func (l *load) write(r wire.Range) { l.add(r, 1, 0) }
func (l *load) read(r wire.Range)  { l.add(r, 0, 1) }

func (l *load) add(r wire.Range, writes, reads int) {
	l.writes += writes
	l.reads += reads
	if l.guarded {
		l.needs = append(l.needs, auth.Need{Range: r, Write: writes > 0})
	}
	l.set.Touching(r, func(rule *limits.Rule) {
		if l.place == nil {
			l.of = append(l.of, charge{rule, writes, reads})
			return
		}
		i, ok := l.place[rule]
		if !ok {
			i = len(l.of)
			l.place[rule], l.of = i, append(l.of, charge{rule: rule})
		}
		l.of[i].writes += writes
		l.of[i].reads += reads
	})
}

// txn adds the operations of both branches, whichever runs.
func (l *load) txn(t *wire.TxnRequest) {
	if l.place == nil {
		l.place = map[*limits.Rule]int{}
	}
	for _, branch := range [][]wire.Op{t.Success, t.Failure} {
		for _, op := range branch {
			switch {
			case op.Put != nil:
				l.write(wire.One(wire.BytesString(op.Put.Key)))
			case op.Delete != nil:
				l.write(wire.ParseRange(op.Delete.Key, op.Delete.End))
			case op.Range != nil:
				l.read(wire.ParseRange(op.Range.Key, op.Range.End))
			case op.Txn != nil:
				l.txn(op.Txn)
			}
		}
	}
}

// ask refuses a request that comes too soon. describe says what it asks for; without limits nobody wants to know.
func (t *throttle) ask(ctx context.Context, c *core, describe func(*load)) error {
	if t == nil || c.View().Limits == nil {
		return nil
	}
	err := t.judge(ctx, c, describe)
	c.cfg.Metrics.refusedBy(err)
	return err
}

func (t *throttle) judge(ctx context.Context, c *core, describe func(*load)) error {
	b := t.buckets(c.View)
	if b.set == nil {
		return nil
	}
	users := c.View().Auth
	l := load{set: b.set, guarded: users.Enabled}
	describe(&l)
	if l.writes == 0 && l.reads == 0 {
		l.reads = 1 // a txn that does nothing
	}
	now := time.Now()
	id, err := c.identify(ctx)
	if err != nil {
		return err
	}
	if r := b.set.User(id.User); r != nil {
		if err := b.take(now, charge{r, l.writes, l.reads}); err != nil {
			return err
		}
	}
	if l.guarded && len(l.of) > 0 && users.Allow(id, l.needs...) != nil {
		return nil // it will be refused, and must not take what others are entitled to
	}
	for _, x := range l.of {
		if err := b.take(now, x); err != nil {
			return err
		}
	}
	return nil
}

// take takes what a request costs. One that costs more than the burst takes all of that.
func (b *buckets) take(now time.Time, x charge) error {
	of := b.of[x.rule]
	if n := x.writes; n > 0 && of.writes != nil && !of.writes.AllowN(now, min(n, of.writes.Burst())) {
		return &limits.Exceeded{Rule: x.rule, What: limits.Writes}
	}
	if n := x.reads; n > 0 && of.reads != nil && !of.reads.AllowN(now, min(n, of.reads.Burst())) {
		return &limits.Exceeded{Rule: x.rule, What: limits.Reads}
	}
	return nil
}
