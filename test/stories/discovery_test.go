package stories

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/cairn-kv/cairn/test/process"
)

var leaseID = regexp.MustCompile(`^lease ([0-9a-f]+) granted with TTL\(5s\)$`)

// S1.4: register, discover and expire with leases, by etcdctl alone.
func TestS1_4(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	granted := func() string {
		m := leaseID.FindStringSubmatch(run(t, g, "lease", "grant", "5"))
		require.NotNil(t, m)
		return m[1]
	}
	id := granted()
	require.Equal(t, "OK", run(t, g, "put", "--lease="+id, "services/web/10.0.0.1:8080", `{"addr":"10.0.0.1:8080"}`))
	alive := ctl(t, g, "lease", "keep-alive", id)
	line := fmt.Sprintf("lease %s keepalived with TTL(5)\n", id)
	began := time.Now()
	soon(t, patience, func() bool { return strings.Count(alive.out.String(), line) >= 4 }, "four renewals: %s", alive.out)
	// One at once, then three.
	require.InDelta(t, 5, time.Since(began).Seconds(), 2.5)

	c := g.Connect()
	have := get(t, c, "services/web/", clientv3.WithPrefix())
	require.Len(t, have.Kvs, 1)
	consumer := ctl(t, g, "watch", "--prefix", "services/web/", fmt.Sprintf("--rev=%d", have.Header.Revision+1))
	time.Sleep(2 * time.Second)
	require.Empty(t, consumer.out.String(), "renewals are no events")
	require.Equal(t, have.Header.Revision, get(t, c, "none").Header.Revision)

	id2 := granted()
	for _, k := range []string{"10.0.0.2:8080", "10.0.0.2:8081"} {
		run(t, g, "put", "--lease="+id2, "services/web/"+k, "v")
	}
	consumer.says("PUT\nservices/web/10.0.0.2:8080\nv\nPUT\nservices/web/10.0.0.2:8081\nv\n", tEvent)
	left := run(t, g, "lease", "timetolive", id, "--keys")
	require.Regexp(t, `^lease `+id+` granted with TTL\(5s\), remaining\([0-5]s\), attached keys\(\[services/web/10.0.0.1:8080\]\)$`, left)

	run(t, g, "lease", "revoke", id2)
	consumer.says("DELETE\nservices/web/10.0.0.2:8080\n\nDELETE\nservices/web/10.0.0.2:8081\n", tEvent)
	alive.stop(syscall.SIGKILL)
	consumer.says("DELETE\nservices/web/10.0.0.1:8080\n", tLease(5))
	require.Equal(t, fmt.Sprintf("lease %s already expired", id), run(t, g, "lease", "timetolive", id))
	n, err := strconv.ParseInt(id, 16, 64)
	require.NoError(t, err)
	for _, m := range g.Members {
		r, err := g.Connect(m).TimeToLive(within(t, patience), clientv3.LeaseID(n))
		require.NoError(t, err)
		require.EqualValues(t, -1, r.TTL)
	}
}

// echoServer is a gRPC server in a process of its own that registers itself: "client URLs|name|address".
func echoServer(spec string) {
	part := strings.Split(spec, "|")
	l, err := net.Listen("tcp", part[2])
	if err != nil {
		panic(err)
	}
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()

	c, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(part[0], ","), Logger: zap.NewNop()})
	if err != nil {
		panic(err)
	}
	m, err := endpoints.NewManager(c, part[1])
	if err != nil {
		panic(err)
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	key := part[1] + "/" + part[2]
	for stop.Err() == nil {
		if id, alive := register(stop, c, m, key, part[2]); alive != nil {
			for range alive { // it ends when the lease is lost
			}
			if stop.Err() != nil {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				_ = m.DeleteEndpoint(ctx, key)
				_, _ = c.Revoke(ctx, id)
				cancel()
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.GracefulStop()
}

func register(ctx context.Context, c *clientv3.Client, m endpoints.Manager, key, addr string) (clientv3.LeaseID, <-chan *clientv3.LeaseKeepAliveResponse) {
	try, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := c.Grant(try, 5)
	if err != nil {
		return 0, nil
	}
	if err = m.AddEndpoint(try, key, endpoints.Endpoint{Addr: addr}, clientv3.WithLease(r.ID)); err != nil {
		return 0, nil
	}
	alive, err := c.KeepAlive(ctx, r.ID)
	if err != nil {
		return 0, nil
	}
	return r.ID, alive
}

// gate forwards connections to one of several addresses while it is open.
type gate struct {
	mu    sync.Mutex
	open  bool
	conns map[net.Conn]bool
}

func newGate(t testing.TB, to ...string) (*gate, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	g := &gate{open: true, conns: map[net.Conn]bool{}}
	go func() {
		for i := 0; ; i++ {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to[i%len(to)])
			g.mu.Lock()
			if err != nil || !g.open {
				_ = in.Close()
				if err == nil {
					_ = out.Close()
				}
			} else {
				g.conns[in], g.conns[out] = true, true
				go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			}
			g.mu.Unlock()
		}
	}()
	return g, "http://" + l.Addr().String()
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = open
	if !open {
		for c := range g.conns {
			_ = c.Close()
		}
		clear(g.conns)
	}
}

// S1.5: gRPC servers register themselves, and a client finds them, with the naming packages of etcd's client.
func TestS1_5(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	var urls []string
	for _, m := range g.Members {
		urls = append(urls, m.URL())
	}
	type server struct {
		addr string
		cmd  *exec.Cmd
	}
	start := func(via string) *server {
		s := &server{addr: process.FreeAddr(t)}
		s.cmd = exec.Command(os.Args[0])
		s.cmd.Env = append(os.Environ(), "CAIRN_STORY_ECHO="+via+"|echo|"+s.addr)
		s.cmd.Stderr = os.Stderr
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		require.NoError(t, s.cmd.Start())
		t.Cleanup(func() { _ = s.cmd.Process.Kill(); _ = s.cmd.Wait() })
		return s
	}
	c := g.Connect()
	keys := func() (out []string) {
		for _, kv := range get(t, c, "echo/", clientv3.WithPrefix()).Kvs {
			out = append(out, strings.TrimPrefix(string(kv.Key), "echo/"))
		}
		return out
	}
	listed := func(s *server) func() bool {
		return func() bool { return strings.Contains(strings.Join(keys(), " ")+" ", s.addr+" ") }
	}
	unlisted := func(s *server) func() bool { return func() bool { return !listed(s)() } }

	all := strings.Join(urls, ",")
	one, two, three := start(all), start(all), start(all)
	for _, s := range []*server{one, two, three} {
		soon(t, patience, listed(s), "%s is registered", s.addr)
	}
	require.Len(t, keys(), 3)

	// The client's own connections to the cluster are others than those of the test.
	b, err := resolver.NewBuilder(g.Connect())
	require.NoError(t, err)
	conn, err := grpc.NewClient("etcd:///echo", grpc.WithResolvers(b), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	echo := healthpb.NewHealthClient(conn)
	call := func() (string, error) {
		var p peer.Peer
		_, err := echo.Check(within(t, 5*time.Second), &healthpb.HealthCheckRequest{}, grpc.Peer(&p), grpc.WaitForReady(true))
		if err != nil {
			return "", err
		}
		return p.Addr.String(), nil
	}
	serving := func(who ...*server) func() bool {
		return func() bool {
			seen := map[string]bool{}
			for range 3 * len(who) {
				if addr, err := call(); err == nil {
					seen[addr] = true
				}
			}
			ok := len(seen) == len(who)
			for _, s := range who {
				ok = ok && seen[s.addr]
			}
			return ok
		}
	}
	spread := func(n int, who ...*server) {
		t.Helper()
		by := map[string]int{}
		for range n {
			addr, err := call()
			require.NoError(t, err)
			by[addr]++
		}
		for _, s := range who {
			require.LessOrEqual(t, math.Abs(float64(by[s.addr]-n/len(who))), 2.0, "%v", by)
		}
	}
	soon(t, 5*time.Second, serving(one, two, three), "the client calls all three")
	spread(300, one, two, three)

	// One stops.
	require.NoError(t, two.cmd.Process.Signal(syscall.SIGTERM))
	soon(t, tEvent, unlisted(two), "who has stopped is gone")
	spread(200, one, three)

	// One is killed.
	require.NoError(t, three.cmd.Process.Kill())
	killed := time.Now()
	soon(t, tLease(5), unlisted(three), "who was killed is gone")
	require.Greater(t, time.Since(killed), 2*time.Second) // it may have renewed its lease of 5 s up to 2 s before
	spread(100, one)

	// One comes.
	four := start(all)
	soon(t, patience, listed(four), "the new one is registered")
	soon(t, tEvent+2*time.Second, serving(one, four), "the client calls the new one")

	// The cluster's leader is killed during traffic.
	var calls, failed atomic.Int64
	traffic, end := context.WithCancel(context.Background())
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			for traffic.Err() == nil {
				if _, err := call(); err != nil {
					failed.Add(1)
				}
				calls.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	lead := g.Leader()
	lead.Kill()
	for range 8 {
		time.Sleep(time.Second)
		require.ElementsMatch(t, []string{one.addr, four.addr}, keys(), "who is registered")
	}
	lead.Start()
	end()
	done.Wait()
	require.Zero(t, failed.Load(), "of %d calls", calls.Load())
	require.Greater(t, calls.Load(), int64(100))

	// One cannot reach the cluster for three times its lease.
	var addrs []string
	for _, m := range g.Members {
		addrs = append(addrs, m.Client)
	}
	way, via := newGate(t, addrs...)
	five := start(via)
	soon(t, patience, listed(five), "who goes through the gate is registered")
	way.set(false)
	cut := time.Now()
	soon(t, tLease(5), unlisted(five), "who is cut off is gone")
	time.Sleep(time.Until(cut.Add(15 * time.Second)))
	require.False(t, listed(five)())
	way.set(true)
	soon(t, patience, listed(five), "who was cut off is back")
	soon(t, 10*time.Second, serving(one, four, five), "the client calls it again")
}
