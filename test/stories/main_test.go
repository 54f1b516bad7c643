package stories

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/test/process"

	// Nothing of it is used: go test must not answer from its cache when the server has changed.
	_ "github.com/cairn-kv/cairn"
)

var long = flag.Bool("long", false, "take the times of the stories where a shorter run is the rule")

const patience = process.Patience

var within = process.Within

// The limits of the stories.
const (
	tEvent = time.Second
	tFail  = 5 * time.Second
)

// tLease is when a key of a lease that nobody renews has gone; tLeaseLed when the leader changes meanwhile.
func tLease(ttl int) time.Duration    { return time.Duration(ttl)*time.Second + 3*time.Second }
func tLeaseLed(ttl int) time.Duration { return time.Duration(2*ttl)*time.Second + 5*time.Second }

// tExpire is when a node of v2 has gone.
func tExpire(ttl int) time.Duration { return time.Duration(ttl)*time.Second + 2500*time.Millisecond }

func TestMain(m *testing.M) {
	flag.Parse()
	if spec := os.Getenv("CAIRN_STORY_ECHO"); spec != "" {
		echoServer(spec)
		return
	}
	if os.Getenv("CAIRN_STORIES") == "" {
		fmt.Println("SKIP: test/stories/run.sh runs the stories")
		return
	}
	os.Exit(process.Main(m))
}

// soon fails unless f comes true within d; the limits are those of the stories, so it looks often.
func soon(t testing.TB, d time.Duration, f func() bool, what string, args ...any) {
	t.Helper()
	for end := time.Now().Add(d); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, fmt.Sprintf(what, args...))
		}
	}
}

// command is an etcdctl that runs.
type command struct {
	*exec.Cmd
	t   testing.TB
	out *process.Output
	end chan struct{}
}

// ctl runs the server's etcdctl against all members of a group until it ends or is killed.
func ctl(t testing.TB, g *process.Group, args ...string) *command {
	t.Helper()
	var urls []string
	for _, m := range g.Members {
		urls = append(urls, m.URL())
	}
	c := &command{t: t, out: &process.Output{}, end: make(chan struct{})}
	c.Cmd = exec.Command(process.Binary, append([]string{"ctl", "--endpoints", strings.Join(urls, ",")}, args...)...)
	c.Env = append(os.Environ(), "ETCDCTL_API=3")
	c.Stdout, c.Stderr = c.out, c.out
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, c.Start())
	go func() {
		_ = c.Wait()
		close(c.end)
	}()
	t.Cleanup(func() { c.stop(syscall.SIGKILL) })
	return c
}

func (c *command) stop(s syscall.Signal) {
	_ = c.Process.Signal(s)
	<-c.end
}

// says waits until the command has printed a text.
func (c *command) says(text string, d time.Duration) {
	c.t.Helper()
	soon(c.t, d, func() bool { return strings.Contains(c.out.String(), text) }, "%q from %v, which has printed %q", text, c.Args[3:], c.out)
}

// run runs etcdctl to its end and returns what it printed.
func run(t testing.TB, g *process.Group, args ...string) string {
	t.Helper()
	c := ctl(t, g, args...)
	select {
	case <-c.end:
	case <-time.After(patience):
		t.Fatalf("%v does not end", args)
	}
	require.Zero(t, c.ProcessState.ExitCode(), "%v: %s", args, c.out)
	return strings.TrimSuffix(c.out.String(), "\n")
}

func put(t testing.TB, c *clientv3.Client, k, v string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	r, err := c.Put(within(t, patience), k, v, opts...)
	require.NoError(t, err)
	return r.Header.Revision
}

func get(t testing.TB, c *clientv3.Client, k string, opts ...clientv3.OpOption) *clientv3.GetResponse {
	t.Helper()
	r, err := c.Get(within(t, patience), k, opts...)
	require.NoError(t, err)
	return r
}

func grant(t testing.TB, c *clientv3.Client, ttl int64) clientv3.LeaseID {
	t.Helper()
	r, err := c.Grant(within(t, patience), ttl)
	require.NoError(t, err)
	return r.ID
}

// events collects what a watch brings, each with the time of its coming.
type events struct {
	t    testing.TB
	ch   chan event
	seen []event
}

type event struct {
	*clientv3.Event
	at time.Time
}

func (e event) String() string {
	b := bytes.NewBufferString(e.Type.String() + " " + string(e.Kv.Key))
	if e.Type == clientv3.EventTypePut {
		b.WriteString("=" + string(e.Kv.Value))
	}
	return b.String()
}

func follow(t testing.TB, c *clientv3.Client, prefix string, rev int64, opts ...clientv3.OpOption) *events {
	e := &events{t: t, ch: make(chan event, 300_000)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w := c.Watch(ctx, prefix, append([]clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(rev)}, opts...)...)
	go func() {
		for r := range w {
			for _, ev := range r.Events {
				e.ch <- event{ev, time.Now()}
			}
		}
	}()
	return e
}

// next is the next event, which has to come within d.
func (e *events) next(d time.Duration) event {
	e.t.Helper()
	select {
	case ev := <-e.ch:
		e.seen = append(e.seen, ev)
		return ev
	case <-time.After(d):
		e.t.Fatalf("no event within %v after %v", d, e.seen)
		panic("unreachable")
	}
}

// none checks that no event comes for d.
func (e *events) none(d time.Duration) {
	e.t.Helper()
	select {
	case ev := <-e.ch:
		e.t.Fatalf("there is an event: %v", ev)
	case <-time.After(d):
	}
}
