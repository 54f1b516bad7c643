//go:build linux

package network

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/test/process"
)

const (
	keyCount    = 5
	callTimeout = 2 * time.Second
	think       = 8 * time.Millisecond // between two operations of a worker, on average
)

// load is clients at work: some that stay with one member, whatever happens to it, on that member's own machine, and some
// that know all members and stand elsewhere. What each saw becomes part of one history.
type load struct {
	s      *scene
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	ops    []*operation
	ledger map[string]string // keys that are put only once, and were acknowledged
	failed []string          // calls of clients that know all members
}

// crowd says how many clients there are.
type crowd struct{ staying, free int }

func startLoad(s *scene, n crowd) *load {
	l := &load{s: s, ledger: map[string]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	s.t.Cleanup(func() { cancel(); l.wg.Wait() })
	id := 0
	begin := func(via string, c *clientv3.Client) {
		id++
		w := &worker{load: l, name: fmt.Sprint("w", id), via: via, client: c, rng: rand.New(rand.NewPCG(s.seed, uint64(id)))}
		l.wg.Go(func() { w.run(ctx) })
	}
	for _, m := range s.Members {
		for range n.staying {
			begin(m.Name, s.Inside(m))
		}
	}
	for range n.free {
		begin("", s.Connect())
	}
	return l
}

// worker is one client. It does one thing at a time.
type worker struct {
	*load
	name, via string
	client    *clientv3.Client
	rng       *rand.Rand
	n         int
	last      [keyCount]string // what it saw last of each key
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.n++
		if w.n%10 == 0 {
			w.enter(ctx)
			continue
		}
		op := w.draw()
		k := op.key[len(op.key)-1] - '0'
		op.call = w.s.now()
		call, cancel := context.WithTimeout(context.Background(), callTimeout)
		w.do(call, op)
		cancel()
		op.ret = w.s.now()
		if op.err == nil {
			w.last[k] = op.seen
			if op.kind == put || op.ok {
				w.last[k] = op.value
			}
		}
		w.mu.Lock()
		w.ops = append(w.ops, op)
		if op.err != nil && w.via == "" {
			w.failed = append(w.failed, op.String())
		}
		w.mu.Unlock()
		rest := time.Duration(w.rng.Int64N(int64(2 * think)))
		if op.err != nil {
			rest += 50 * time.Millisecond
		}
		pause(ctx, rest)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (w *worker) draw() *operation {
	k := w.rng.IntN(keyCount)
	op := &operation{key: fmt.Sprint("shared/", k), value: fmt.Sprintf("%s.%d", w.name, w.n), via: w.via}
	switch p := w.rng.IntN(100); {
	case p < 40:
		op.kind, op.value = get, ""
	case p < 70:
		op.kind = put
	case p < 76:
		op.kind, op.value = remove, ""
	default:
		op.kind, op.expect = cas, w.last[k]
	}
	return op
}

func (w *worker) do(ctx context.Context, op *operation) {
	switch op.kind {
	case get:
		r, err := w.client.Get(ctx, op.key)
		if op.fails(err) {
			return
		}
		op.rev = r.Header.Revision
		if len(r.Kvs) > 0 {
			op.seen, op.mod = string(r.Kvs[0].Value), r.Kvs[0].ModRevision
		}
	case put:
		r, err := w.client.Put(ctx, op.key, op.value)
		if op.fails(err) {
			return
		}
		op.rev = r.Header.Revision
	case remove:
		r, err := w.client.Delete(ctx, op.key, clientv3.WithPrevKV())
		if op.fails(err) {
			return
		}
		op.rev = r.Header.Revision
		if len(r.PrevKvs) > 0 {
			op.seen, op.mod = string(r.PrevKvs[0].Value), r.PrevKvs[0].ModRevision
		}
	case cas:
		is := clientv3.Compare(clientv3.Value(op.key), "=", op.expect)
		if op.expect == "" {
			is = clientv3.Compare(clientv3.CreateRevision(op.key), "=", 0)
		}
		r, err := w.client.Txn(ctx).If(is).Then(clientv3.OpPut(op.key, op.value)).Else(clientv3.OpGet(op.key)).Commit()
		if op.fails(err) {
			return
		}
		op.rev, op.ok = r.Header.Revision, r.Succeeded
		if !op.ok {
			if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
				op.seen, op.mod = string(kvs[0].Value), kvs[0].ModRevision
			}
		}
	}
}

// fails takes note of an error, and whether the request can have reached anybody.
func (o *operation) fails(err error) bool {
	o.err = err
	if s, ok := status.FromError(err); ok && s.Code() == codes.Unavailable && strings.Contains(s.Message(), "Error while dialing") {
		o.unsent = true
	}
	return err != nil
}

// enter puts a key that nobody else uses.
func (w *worker) enter(ctx context.Context) {
	key := fmt.Sprintf("ledger/%s/%d", w.name, w.n)
	call, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_, err := w.client.Put(call, key, key)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.ledger[key] = key
	case w.via == "":
		w.failed = append(w.failed, fmt.Sprintf("put %s: %v", key, err))
	}
}

// end stops the clients, reads everything through every member once more, and checks what all of that comes to.
func (l *load) end() {
	t := l.s.t
	t.Helper()
	l.cancel()
	l.wg.Wait()
	for _, m := range l.s.Members {
		w := &worker{load: l, via: m.Name, client: l.s.Inside(m)}
		for k := range keyCount {
			op := &operation{kind: get, key: fmt.Sprint("shared/", k), via: m.Name, call: l.s.now()}
			w.do(within(t, patience), op)
			require.NoError(t, op.err)
			op.ret = l.s.now()
			l.ops = append(l.ops, op)
		}
		r, err := w.client.Get(within(t, patience), "ledger/", clientv3.WithPrefix())
		require.NoError(t, err)
		there := map[string]string{}
		for _, kv := range r.Kvs {
			there[string(kv.Key)] = string(kv.Value)
		}
		for key, value := range l.ledger {
			require.Equal(t, value, there[key], "%s was acknowledged, and member %s does not have it", key, m.Name)
		}
	}
	began := time.Now()
	require.NoError(t, checkHistory(l.ops, time.Minute))
	failed := 0
	for _, o := range l.ops {
		if o.err != nil {
			failed++
		}
	}
	t.Logf("history: %d operations, %d of them without an answer, and %d single puts; checked in %v",
		len(l.ops), failed, len(l.ledger), time.Since(began).Round(time.Millisecond))
}

// answeredWrites are the writes through some members, all if none are named, that were asked and answered between two
// moments, by when they were answered.
func (l *load) answeredWrites(from, to time.Duration, via ...*process.Member) (out []*operation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.ops {
		if o.err != nil || !o.writes() || o.call < from || o.ret > to {
			continue
		}
		if len(via) == 0 || slices.ContainsFunc(via, func(m *process.Member) bool { return m.Name == o.via }) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *operation) int { return int(a.ret - b.ret) })
	return out
}

// gap is the longest time between two moments in which no write through some members was answered.
func (l *load) gap(from, to time.Duration, via ...*process.Member) (longest time.Duration) {
	last := from
	for _, o := range l.answeredWrites(0, to, via...) {
		if o.ret > from {
			longest = max(longest, o.ret-last)
			last = o.ret
		}
	}
	return max(longest, to-last)
}

// writeTimes is how long writes through some members took between two moments.
func (l *load) writeTimes(from, to time.Duration, via ...*process.Member) (out []time.Duration) {
	for _, o := range l.answeredWrites(from, to, via...) {
		out = append(out, o.ret-o.call)
	}
	return out
}
