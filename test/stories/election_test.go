package stories

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"github.com/cairn-kv/cairn/test/process"
)

// S8.2: election with etcdctl, and with etcd's client.
func TestS8_2(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	candidates := func(name string) int { return len(get(t, c, name+"/", clientv3.WithPrefix()).Kvs) }

	var run []*command
	for i := range 3 {
		run = append(run, ctl(t, g, "elect", "search", fmt.Sprint("n", i+1)))
		soon(t, patience, func() bool { return candidates("search") == i+1 }, "%d are candidates; the last says %q", i+1, run[i].out)
	}
	soon(t, tEvent, func() bool { return strings.HasSuffix(run[0].out.String(), "\nn1\n") }, "the first leads: %q", run[0].out)
	require.Regexp(t, `^search/[0-9a-f]+\nn1\n$`, run[0].out.String())
	listener := ctl(t, g, "elect", "--listen", "search")
	listener.says("\nn1\n", patience)
	require.Empty(t, run[1].out.String()+run[2].out.String())
	run[0].stop(syscall.SIGINT)
	run[1].says("\nn2\n", tEvent)
	listener.says("\nn2\n", tEvent)
	require.Empty(t, run[2].out.String())

	// By the client, with sessions of 5 s.
	var e []*concurrency.Election
	var s []*concurrency.Session
	elected := make(chan int, 3)
	for i := range 3 {
		s = append(s, session(t, g.Connect(), 5))
		e = append(e, concurrency.NewElection(s[i], "go"))
		go func() {
			if e[i].Campaign(within(t, time.Minute), fmt.Sprint("n", i)) == nil {
				elected <- i
			}
		}()
		soon(t, patience, func() bool { return candidates("go") == i+1 }, "%d are candidates", i+1)
	}
	leads := func(who int, d time.Duration) {
		t.Helper()
		select {
		case got := <-elected:
			require.Equal(t, who, got)
		case <-time.After(d):
			t.Fatalf("%d is not elected within %v", who, d)
		}
	}
	leads(0, tEvent)
	seen := concurrency.NewElection(session(t, g.Connect(), 5), "go").Observe(within(t, time.Minute))
	observe := func(want string) {
		t.Helper()
		for end := time.After(5 * time.Second); ; {
			select {
			case r := <-seen:
				if len(r.Kvs) == 1 && string(r.Kvs[0].Value) == want {
					return
				}
			case <-end:
				t.Fatalf("%q is not observed", want)
			}
		}
	}
	observe("n0")
	require.NoError(t, e[0].Proclaim(within(t, patience), "n0 again"))
	observe("n0 again")
	require.Empty(t, elected)

	// Whoever leads may publish, and whoever has led may not.
	publish := func(i int, v string) bool {
		r, err := c.Txn(within(t, patience)).If(clientv3.Compare(clientv3.CreateRevision(e[i].Key()), "=", e[i].Rev())).
			Then(clientv3.OpPut("search/index/current", v)).Commit()
		require.NoError(t, err)
		return r.Succeeded
	}
	require.True(t, publish(0, "1"))
	key, rev := e[0].Key(), e[0].Rev()
	require.NoError(t, e[0].Resign(within(t, patience)))
	leads(1, tEvent)
	observe("n1")
	r, err := c.Txn(within(t, patience)).If(clientv3.Compare(clientv3.CreateRevision(key), "=", rev)).Then(clientv3.OpPut("search/index/current", "2'")).Commit()
	require.NoError(t, err)
	require.False(t, r.Succeeded)
	require.True(t, publish(1, "2"))
	s[1].Orphan() // it dies
	leads(2, tLease(5))
	observe("n2")
	require.False(t, publish(1, "3'"))
	require.True(t, publish(2, "3"))
	require.Equal(t, "3", string(get(t, c, "search/index/current").Kvs[0].Value))
}

// term is a time of leadership as whoever leads believes it.
type term struct {
	who   int
	token uint64
	from  time.Time
	to    time.Time // when it could not be sure any more
}

// terms collects them, and the versions that were published.
type terms struct {
	mu       sync.Mutex
	all      []term
	versions []int
}

func (x *terms) add(tm term) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, tm)
}

func (x *terms) published(v int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.versions = append(x.versions, v)
}

// version is the number in a value "7 by n3".
func version(value string) int {
	n, _, _ := strings.Cut(value, " ")
	v, _ := strconv.Atoi(n)
	return v
}

// faults kills and restarts a random member every few seconds, and ends after rounds of that.
func faults(g *process.Group, rounds int) {
	for range rounds {
		time.Sleep(7 * time.Second)
		m := g.Members[rand.IntN(3)]
		m.Kill()
		time.Sleep(3 * time.Second)
		m.Start()
	}
}

// judge checks what S8.3 asks: tokens grow from term to term, nobody leads while another does, somebody leads again in time,
// and versions are published one after the other without a gap.
func (x *terms) judge(t *testing.T, began, ended time.Time, gap time.Duration) {
	t.Helper()
	slices.SortFunc(x.all, func(a, b term) int { return a.from.Compare(b.from) })
	last := began
	for i, tm := range x.all {
		if i > 0 {
			prev := x.all[i-1]
			require.Greater(t, tm.token, prev.token, "terms %v and %v", prev, tm)
			require.False(t, tm.from.Before(prev.to), "%d leads from %v on, and %d until %v", tm.who, tm.from, prev.who, prev.to)
		}
		require.Less(t, tm.from.Sub(last), gap, "nobody leads since %v", last)
		last = tm.to
	}
	require.Less(t, ended.Sub(last), gap, "nobody leads at the end")
	slices.Sort(x.versions)
	for i, v := range x.versions {
		require.Equal(t, i+1, v, "versions: %v", x.versions)
	}
	t.Logf("%d terms, %d versions", len(x.all), len(x.versions))
	require.Greater(t, len(x.all), 3)
	require.Greater(t, len(x.versions), len(x.all))
}

func rounds() int {
	if *long {
		return 12
	}
	return 3
}

// S8.3 with v2: election while members fail. Leaders retire or die after some versions.
func TestS8_3V2(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	const ttl = 4
	x := &terms{}
	stop := make(chan struct{})
	over := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	var done sync.WaitGroup
	began := time.Now()
	for i := range 5 {
		c, me := newV2(g, i), fmt.Sprint("n", i)
		done.Go(func() {
			for !over() {
				asked := time.Now()
				a, err := c.once("PUT", "/search/leader?prevExist=false", url.Values{"value": {me}, "ttl": {strconv.Itoa(ttl)}})
				switch {
				case err != nil:
					time.Sleep(100 * time.Millisecond)
					continue
				case a.Status != 201:
					_, _ = c.once("GET", fmt.Sprintf("/search/leader?wait=true&waitIndex=%d", a.Index+1), nil)
					continue
				}
				// It is sure of its term as long as its key cannot have expired. The token goes with the value, so that it
				// does not take a term for its own that an attempt of unknown fate has begun.
				tm := term{who: i, token: a.Node.Created, from: time.Now(), to: asked.Add(ttl * time.Second)}
				at := a.Node.Modified
				for n := range 8 {
					time.Sleep(time.Duration(200+rand.IntN(200)) * time.Millisecond)
					asked = time.Now()
					r, err := c.once("PUT", fmt.Sprintf("/search/leader?prevIndex=%d", at), url.Values{"refresh": {"true"}, "ttl": {strconv.Itoa(ttl)}})
					if err != nil {
						// The renewal may have been made under another index: who is sure no more gives up.
						break
					}
					if r.Status != 200 {
						break
					}
					at, tm.to = r.Node.Modified, asked.Add(ttl*time.Second)
					cur, err := c.once("GET", "/search/index/current?quorum=true", nil)
					if err != nil {
						continue
					}
					v := version(cur.Node.Value)
					next := fmt.Sprint(v+1, " by ", me)
					path := fmt.Sprintf("/search/index/current?prevIndex=%d", cur.Node.Modified)
					if cur.Code == 100 {
						path = "/search/index/current?prevExist=false"
					}
					if time.Now().After(tm.to) {
						break
					}
					p, err := c.once("PUT", path, url.Values{"value": {next}})
					if err != nil {
						// It may have been published all the same.
						p = c.do(over, "GET", "/search/index/current?quorum=true", nil)
						if p == nil || p.Node.Value != next {
							break
						}
					}
					if p.Status < 300 {
						x.published(v + 1)
					}
					if n == 5 && rand.IntN(2) == 0 {
						// It retires.
						if d, err := c.once("DELETE", fmt.Sprintf("/search/leader?prevIndex=%d", at), nil); err == nil && d.Status == 200 {
							tm.to = time.Now()
						}
						break
					}
				}
				if now := time.Now(); tm.to.After(now) {
					tm.to = now // it is dead, or has given up
				}
				x.add(tm)
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	faults(g, rounds())
	ended := time.Now()
	close(stop)
	done.Wait()
	x.judge(t, began, ended, tExpire(ttl)+tFail)
}

// S8.3 with v3.
func TestS8_3V3(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	const ttl = 4
	x := &terms{}
	stop, cancel := context.WithCancel(context.Background())
	defer cancel()
	var done sync.WaitGroup
	began := time.Now()
	for i := range 5 {
		c := g.Connect()
		done.Go(func() {
			for stop.Err() == nil {
				s, err := concurrency.NewSession(c, concurrency.WithTTL(ttl), concurrency.WithContext(stop))
				if err != nil {
					time.Sleep(100 * time.Millisecond)
					continue
				}
				// Nothing else is below the name of an election: whoever stands for it waits for all keys there.
				e := concurrency.NewElection(s, "leader-of-search")
				campaign, leave := context.WithCancel(stop)
				go func() {
					select {
					case <-s.Done():
						leave() // who has no session any more is no candidate
					case <-campaign.Done():
					}
				}()
				if e.Campaign(campaign, fmt.Sprint("n", i)) == nil {
					lead(stop, c, e, s, i, x)
				}
				leave()
				_ = s.Close()
			}
		})
	}
	faults(g, rounds())
	ended := time.Now()
	cancel()
	done.Wait()
	x.judge(t, began, ended, tLeaseLed(ttl)+tFail)
}

// lead is a term: it publishes some versions, each guarded by its key, and then resigns or dies.
func lead(stop context.Context, c *clientv3.Client, e *concurrency.Election, s *concurrency.Session, who int, x *terms) {
	tm := term{who: who, token: uint64(e.Rev()), from: time.Now()}
	tm.to = tm.from
	defer func() { x.add(tm) }()
	mine := clientv3.Compare(clientv3.CreateRevision(e.Key()), "=", e.Rev())
	for n := range 8 {
		time.Sleep(time.Duration(200+rand.IntN(200)) * time.Millisecond)
		ctx, cancel := context.WithTimeout(stop, 3*time.Second)
		cur, err := c.Get(ctx, "search/index/current")
		if err == nil {
			v, rev := 0, int64(0)
			if len(cur.Kvs) > 0 {
				v, rev = version(string(cur.Kvs[0].Value)), cur.Kvs[0].ModRevision
			}
			next := fmt.Sprint(v+1, " by n", who)
			asked := time.Now()
			var r *clientv3.TxnResponse
			r, err = c.Txn(ctx).If(mine, clientv3.Compare(clientv3.ModRevision("search/index/current"), "=", rev)).
				Then(clientv3.OpPut("search/index/current", next)).Commit()
			switch {
			case err != nil:
				// It may have been published all the same.
				if now, err := c.Get(stop, "search/index/current"); err == nil && len(now.Kvs) > 0 && string(now.Kvs[0].Value) == next {
					x.published(v + 1)
				}
			case !r.Succeeded:
				cancel()
				return // deposed
			default:
				x.published(v + 1)
				tm.to = asked // it led at least until then
			}
		}
		cancel()
		if n == 5 && rand.IntN(2) == 0 {
			if rand.IntN(2) == 0 {
				s.Orphan()
			} else {
				ctx, cancel := context.WithTimeout(stop, 3*time.Second)
				_ = e.Resign(ctx)
				cancel()
			}
			return
		}
	}
}
