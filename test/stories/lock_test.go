package stories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cairn-kv/cairn/test/process"
)

func session(t testing.TB, c *clientv3.Client, ttl int) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(c, concurrency.WithTTL(ttl))
	require.NoError(t, err)
	t.Cleanup(func() { s.Orphan() })
	return s
}

// S5.3: the lock of etcd's client, and etcdctl lock.
func TestS5_3(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()

	// Two hold it for a second each, one after the other.
	var mu sync.Mutex
	var spans [][2]time.Time
	var two sync.WaitGroup
	for range 2 {
		s := session(t, g.Connect(), 10)
		two.Go(func() {
			m := concurrency.NewMutex(s, "/my-lock/")
			if err := m.Lock(within(t, patience)); err != nil {
				t.Error(err)
				return
			}
			from := time.Now()
			time.Sleep(time.Second)
			mu.Lock()
			spans = append(spans, [2]time.Time{from, time.Now()})
			mu.Unlock()
			if err := m.Unlock(within(t, patience)); err != nil {
				t.Error(err)
			}
		})
	}
	soon(t, patience, func() bool { return len(get(t, c, "/my-lock/", clientv3.WithPrefix()).Kvs) == 2 }, "two contend")
	kvs := get(t, c, "/my-lock/", clientv3.WithPrefix()).Kvs
	for _, kv := range kvs {
		require.Equal(t, fmt.Sprintf("/my-lock//%x", kv.Lease), string(kv.Key))
		require.Empty(t, kv.Value)
	}
	require.NotEqual(t, kvs[0].CreateRevision, kvs[1].CreateRevision)
	two.Wait()
	require.Len(t, spans, 2)
	require.False(t, spans[1][0].Before(spans[0][1]), "they held it together: %v", spans)

	// Twenty get it in the order of their asking, and a release lets exactly one on. The fifth leaves before its turn, and
	// the session of the eighth ends.
	granted := make(chan int, 20)
	type contender struct {
		s     *concurrency.Session
		m     *concurrency.Mutex
		leave context.CancelFunc
		err   chan error
	}
	var line []*contender
	for i := range 20 {
		s := session(t, g.Connect(g.Members[i%3]), 30)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		x := &contender{s: s, m: concurrency.NewMutex(s, "line"), leave: cancel, err: make(chan error, 1)}
		line = append(line, x)
		go func() {
			err := x.m.Lock(ctx)
			if err == nil {
				granted <- i
			}
			x.err <- err
		}()
		soon(t, patience, func() bool { return len(get(t, c, "line/", clientv3.WithPrefix()).Kvs) == i+1 }, "%d are in line", i+1)
	}
	line[5].leave()
	require.ErrorIs(t, <-line[5].err, context.Canceled)
	soon(t, tEvent, func() bool { return len(get(t, c, "line/", clientv3.WithPrefix()).Kvs) == 19 }, "who has left is out of line")
	_, err := c.Revoke(within(t, patience), line[8].s.Lease())
	require.NoError(t, err)
	for i := range 20 {
		if i == 5 {
			continue
		}
		if i == 8 {
			require.ErrorIs(t, <-line[8].err, concurrency.ErrSessionExpired)
			continue
		}
		select {
		case who := <-granted:
			require.Equal(t, i, who)
		case <-time.After(5 * time.Second):
			t.Fatalf("%d does not get the lock", i)
		}
		if i == 3 {
			select {
			case who := <-granted:
				t.Fatalf("%d has the lock beside %d", who, i)
			case <-time.After(500 * time.Millisecond):
			}
		}
		require.NoError(t, line[i].m.Unlock(within(t, patience)))
	}

	// etcdctl: one holds, one waits.
	a := ctl(t, g, "lock", "res")
	soon(t, patience, func() bool { return strings.HasSuffix(a.out.String(), "\n\n") }, "A holds: %q", a.out)
	require.Regexp(t, `^res/[0-9a-f]+\n\n$`, a.out.String())
	b := ctl(t, g, "lock", "res", "echo", "got it")
	soon(t, patience, func() bool { return len(get(t, c, "res/", clientv3.WithPrefix()).Kvs) == 2 }, "B waits: A says %q, B %q", a.out, b.out)
	require.Empty(t, b.out.String())
	a.stop(syscall.SIGINT)
	b.says("got it\n", tEvent)
	<-b.end
	env := run(t, g, "lock", "res", "--", "sh", "-c", "echo $ETCD_LOCK_KEY $ETCD_LOCK_REV")
	require.Regexp(t, `^res/[0-9a-f]+ [1-9][0-9]*$`, env)

	a = ctl(t, g, "lock", "--ttl", "5", "res")
	soon(t, patience, func() bool { return strings.HasSuffix(a.out.String(), "\n\n") }, "A holds: %q", a.out)
	b = ctl(t, g, "lock", "res", "echo", "got it")
	soon(t, patience, func() bool { return len(get(t, c, "res/", clientv3.WithPrefix()).Kvs) == 2 }, "B waits: A says %q, B %q", a.out, b.out)
	a.stop(syscall.SIGKILL)
	b.says("got it\n", tLease(5))
}

// guarded is a resource beside the cluster: a counter in a file, and what was seen of who came when with which token.
type guarded struct {
	t    testing.TB
	file string

	mu                sync.Mutex
	token             uint64 // the largest that has come
	inside            int    // who are in there now
	overlaps, refused int
}

func newGuarded(t testing.TB) *guarded {
	g := &guarded{t: t, file: filepath.Join(t.TempDir(), "counter")}
	require.NoError(t, os.WriteFile(g.file, []byte("0"), 0o600))
	return g
}

// round is what a holder does: it reads the counter, and a little later writes one more. It says whether the resource took
// the write. A holder that dies in between writes nothing.
func (g *guarded) round(token uint64, dies bool) bool {
	g.mu.Lock()
	if g.inside > 0 {
		g.overlaps++
	}
	g.inside++
	if token > g.token {
		g.token = token
	}
	b, err := os.ReadFile(g.file)
	g.mu.Unlock()
	n, convErr := strconv.Atoi(string(b))
	if err != nil || convErr != nil {
		g.t.Errorf("counter: %v %v", err, convErr)
	}
	time.Sleep(time.Duration(1+rand.IntN(5)) * time.Millisecond)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if dies {
		return false
	}
	if token < g.token {
		g.refused++
		return false
	}
	if err = os.WriteFile(g.file, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		g.t.Error(err)
	}
	return true
}

func (g *guarded) count() int {
	b, err := os.ReadFile(g.file)
	require.NoError(g.t, err)
	n, err := strconv.Atoi(string(b))
	require.NoError(g.t, err)
	return n
}

// underLoad lets 20 clients do 50 rounds each; five die, and one member is killed and comes back. A client is told whether
// to die in a round.
func underLoad(t *testing.T, g *process.Group, r *guarded, client func(i int, dies func(round int) bool) (rounds int)) {
	var done sync.WaitGroup
	var total, ready atomic.Int64
	doomed := map[int]int{}
	for len(doomed) < 5 {
		doomed[rand.IntN(20)] = 5 + rand.IntN(40)
	}
	for i := range 20 {
		done.Go(func() {
			n := client(i, func(round int) bool {
				ready.Add(1)
				at, ok := doomed[i]
				return ok && round == at
			})
			total.Add(int64(n))
		})
	}
	soon(t, 3*time.Minute, func() bool { return ready.Load() > 200 }, "a fifth of the rounds is done")
	m := g.Members[rand.IntN(3)]
	m.Kill()
	time.Sleep(time.Second)
	m.Start()
	done.Wait()
	want := 0
	for i := range 20 {
		if at, ok := doomed[i]; ok {
			want += at
		} else {
			want += 50
		}
	}
	t.Logf("%d rounds, %d overlaps, %d stale writes refused", total.Load(), r.overlaps, r.refused)
	require.EqualValues(t, r.count(), total.Load(), "the counter")
	// A round in which a member was lost may have to be done without success; all others succeed.
	require.LessOrEqual(t, want-int(total.Load()), r.refused)
	// Nobody stopped for as long as a time to live, so nobody was inside with another.
	require.Zero(t, r.overlaps)
}

// S5.4 with v3: mutual exclusion under load.
func TestS5_4V3(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	r := newGuarded(t)
	var clients []*clientv3.Client
	for range 20 {
		clients = append(clients, g.Connect())
	}
	underLoad(t, g, r, func(i int, dies func(int) bool) (ok int) {
		l := &v3Lock{c: clients[i]}
		defer func() {
			if l.s != nil {
				l.s.Orphan()
			}
		}()
		for round := range 50 {
			token, err := l.lock(t)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return ok
			}
			if dies(round) {
				r.round(token, true)
				return ok
			}
			if r.round(token, false) {
				ok++
			}
			if err := l.unlock(t); err != nil {
				t.Errorf("client %d: %v", i, err)
				return ok
			}
		}
		return ok
	})
}

// v3Lock is the mutex of etcd's client in a session that is made anew when it is lost. What becomes of a write is not known
// when its member is killed; both calls can be made again.
type v3Lock struct {
	c *clientv3.Client
	s *concurrency.Session
	m *concurrency.Mutex
}

func (l *v3Lock) lock(t testing.TB) (token uint64, err error) {
	for range 20 {
		if l.s == nil {
			if l.s, err = concurrency.NewSession(l.c, concurrency.WithTTL(5)); err != nil {
				l.s = nil
				time.Sleep(200 * time.Millisecond)
				continue
			}
			l.m = concurrency.NewMutex(l.s, "load")
		}
		if err = l.m.Lock(within(t, 2*time.Minute)); err == nil {
			var kv *clientv3.GetResponse
			if kv, err = l.c.Get(within(t, patience), l.m.Key()); err == nil && len(kv.Kvs) == 1 {
				return uint64(kv.Kvs[0].CreateRevision), nil
			}
		}
		select {
		case <-l.s.Done():
			l.s = nil
		case <-time.After(200 * time.Millisecond):
		}
		if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) || errors.Is(err, concurrency.ErrSessionExpired) {
			l.s = nil
		}
	}
	return 0, fmt.Errorf("the lock is not to be had: %v", err)
}

func (l *v3Lock) unlock(t testing.TB) (err error) {
	for range 20 {
		if err = l.m.Unlock(within(t, patience)); err == nil {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	return err
}

// v2Lock is the sequenced lock of S5.2 with keys that live for a few seconds and are renewed while they are wanted.
type v2Lock struct {
	c    *v2Client
	dir  string
	ttl  int
	name string
	key  string
	stop chan struct{}
	lost atomic.Bool
}

// lock returns the fencing token, which is the index at which the key was made.
func (l *v2Lock) lock(end func() bool) (token uint64, ok bool) {
	ttl := strconv.Itoa(l.ttl)
	for !end() {
		a := l.c.do(end, "POST", l.dir, url.Values{"value": {l.name}, "ttl": {ttl}})
		if a == nil || a.Status != 201 {
			continue
		}
		l.key, l.stop = a.Node.Key, make(chan struct{})
		l.lost.Store(false)
		go l.renew(l.key, l.stop)
		for !l.lost.Load() && !end() {
			line := l.c.do(end, "GET", l.dir+"?sorted=true&quorum=true", nil)
			if line == nil {
				break
			}
			i := slices.IndexFunc(line.Node.Nodes, func(n v2Node) bool { return n.Key == l.key })
			if i == 0 {
				return a.Node.Created, true
			}
			if i < 0 {
				break // it has expired: once more
			}
			// The one before is gone when its key changes. A watch that its member ends, or that takes too long, is tried again.
			_, _ = l.c.once("GET", fmt.Sprintf("%s?wait=true&waitIndex=%d", line.Node.Nodes[i-1].Key, line.Index+1), nil)
		}
		l.abandon()
	}
	return 0, false
}

func (l *v2Lock) renew(key string, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(l.ttl) * time.Second / 4):
		}
		a, err := l.c.once("PUT", key+"?prevValue="+l.name, url.Values{"refresh": {"true"}, "ttl": {strconv.Itoa(l.ttl)}})
		if err == nil && a.Status >= 400 {
			l.lost.Store(true)
			return
		}
	}
}

// abandon is what death does: nobody renews any more.
func (l *v2Lock) abandon() { close(l.stop) }

func (l *v2Lock) unlock(end func() bool) {
	l.abandon()
	l.c.do(end, "DELETE", l.key+"?prevValue="+l.name, nil)
}

// S5.4 with v2: mutual exclusion under load.
func TestS5_4V2(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	r := newGuarded(t)
	deadline := time.Now().Add(4 * time.Minute)
	end := func() bool { return time.Now().After(deadline) }
	underLoad(t, g, r, func(i int, dies func(int) bool) (ok int) {
		l := &v2Lock{c: newV2(g, i), dir: "/load", ttl: 5, name: fmt.Sprint("client-", i)}
		for round := range 50 {
			token, held := l.lock(end)
			if !held {
				t.Errorf("client %d does not get the lock", i)
				return ok
			}
			if dies(round) {
				r.round(token, true)
				l.abandon()
				return ok
			}
			if r.round(token, false) {
				ok++
			}
			l.unlock(end)
		}
		return ok
	})
}

// S5.5 with v3: a lock while members fail.
func TestS5_5(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	const ttl = 15
	a, b := session(t, g.Connect(), ttl), session(t, g.Connect(), ttl)
	ma, mb := concurrency.NewMutex(a, "res"), concurrency.NewMutex(b, "res")
	require.NoError(t, ma.Lock(within(t, patience)))
	got := make(chan error, 1)
	wait, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { got <- mb.Lock(wait) }()
	c := g.Connect()
	soon(t, patience, func() bool { return len(get(t, c, "res/", clientv3.WithPrefix()).Kvs) == 2 }, "B waits")

	holds := func() {
		t.Helper()
		r, err := c.Txn(within(t, patience)).If(ma.IsOwner()).Commit()
		require.NoError(t, err)
		require.True(t, r.Succeeded, "A holds it")
		select {
		case err := <-got:
			t.Fatalf("B waits no more: %v", err)
		case <-a.Done():
			t.Fatal("the session of A has ended")
		default:
		}
	}
	for range 2 {
		lead := g.Leader()
		lead.Kill()
		soon(t, tFail, func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := a.Client().KeepAliveOnce(ctx, a.Lease())
			return err == nil
		}, "A renews")
		holds()
		lead.Start()
	}
	holds()

	// Without a quorum nobody gets it.
	x, y := g.Members[1], g.Members[2]
	x.Stop()
	y.Stop()
	m := concurrency.NewMutex(a, "other")
	require.Error(t, m.Lock(within(t, 4*time.Second)))
	select {
	case err := <-got:
		t.Fatalf("B waits no more: %v", err)
	default:
	}
	x.Start()
	y.Start()
	holdsSoon := func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		r, err := c.Txn(ctx).If(ma.IsOwner()).Commit()
		return err == nil && r.Succeeded
	}
	soon(t, patience, holdsSoon, "A holds it again, as its lease had time left")
	for _, m := range g.Members {
		r, err := g.Connect(m).Get(within(t, patience), "res/", clientv3.WithFirstCreate()...)
		require.NoError(t, err)
		require.Equal(t, ma.Key(), string(r.Kvs[0].Key))
	}
	require.NoError(t, ma.Unlock(within(t, patience)))
	require.NoError(t, <-got)
}

// S5.6 with v3: only who has locked can unlock.
func TestS5_6(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	a, b := session(t, g.Connect(), 30), session(t, g.Connect(), 30)
	ma, mb := concurrency.NewMutex(a, "res"), concurrency.NewMutex(b, "res")
	require.NoError(t, ma.Lock(within(t, patience)))
	require.ErrorIs(t, mb.TryLock(within(t, patience)), concurrency.ErrLocked)
	c := g.Connect()
	there := func() bool { return len(get(t, c, ma.Key()).Kvs) == 1 }
	_ = mb.Unlock(within(t, patience))
	require.True(t, there())
	require.NoError(t, b.Close())
	require.True(t, there())

	release := func(own int64) bool {
		r, err := c.Txn(within(t, patience)).If(clientv3.Compare(clientv3.CreateRevision(ma.Key()), "=", own)).Then(clientv3.OpDelete(ma.Key())).Commit()
		require.NoError(t, err)
		return r.Succeeded
	}
	own := get(t, c, ma.Key()).Kvs[0].CreateRevision
	require.False(t, release(own+1))
	require.True(t, there())
	require.True(t, release(own))
	require.False(t, there())
}
