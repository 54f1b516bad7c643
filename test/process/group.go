package process

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Group is the members of a cluster.
type Group struct {
	T       testing.TB
	Members []*Member
	Place   Place // where clients are
}

// NewGroup starts a cluster of n members on this machine, named a, b, c and so on.
func NewGroup(t testing.TB, n int, flags ...string) *Group {
	t.Helper()
	g := &Group{T: t}
	for i := range n {
		g.Members = append(g.Members, NewMember(t, string(rune('a'+i)), flags...))
	}
	g.Start()
	return g
}

// Start starts all members for the first time.
func (g *Group) Start() {
	g.T.Helper()
	for _, m := range g.Members {
		m.Launch("--initial-cluster", g.Initial())
	}
	for _, m := range g.Members {
		m.Await()
	}
}

// Initial is the value of --initial-cluster.
func (g *Group) Initial(more ...*Member) string {
	var parts []string
	for _, m := range append(append([]*Member(nil), g.Members...), more...) {
		parts = append(parts, m.Name+"="+m.PeerURL())
	}
	return strings.Join(parts, ",")
}

// Connect is a client of some members, of all if none are named.
func (g *Group) Connect(ms ...*Member) *clientv3.Client {
	g.T.Helper()
	if len(ms) == 0 {
		ms = g.Members
	}
	c := connect(g.T, g.Place, ms...)
	g.T.Cleanup(func() { _ = c.Close() })
	return c
}

// Inside is a client of one member on that member's own machine, which needs no network to reach it.
func (g *Group) Inside(m *Member) *clientv3.Client {
	g.T.Helper()
	c := connect(g.T, m.Place, m)
	g.T.Cleanup(func() { _ = c.Close() })
	return c
}

func connect(t testing.TB, from Place, ms ...*Member) *clientv3.Client {
	t.Helper()
	var endpoints []string
	for _, m := range ms {
		endpoints = append(endpoints, m.URL())
	}
	cfg := clientv3.Config{Endpoints: endpoints, TLS: ms[0].TLS, DialTimeout: Patience, Logger: zap.NewNop()}
	if from != nil {
		cfg.DialOptions = []grpc.DialOption{grpc.WithContextDialer(from.Dial)}
	}
	c, err := clientv3.New(cfg)
	require.NoError(t, err)
	return c
}

// Leader is the member that leads, once one does.
func (g *Group) Leader() *Member {
	g.T.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, m := range g.Members {
			if s := g.Status(m); s != nil && s.Leader == s.Header.MemberId {
				return m
			}
		}
	}
	g.T.Fatal("nobody leads")
	return nil
}

// Followers are the others.
func (g *Group) Followers() []*Member { return g.Others(g.Leader()) }

// Others are all members but one.
func (g *Group) Others(than *Member) (out []*Member) {
	for _, m := range g.Members {
		if m != than {
			out = append(out, m)
		}
	}
	return out
}

// Status is what a member says of itself, nil if it does not.
func (g *Group) Status(m *Member) *clientv3.StatusResponse {
	c := connect(g.T, m.Place, m)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := c.Status(ctx, m.URL())
	if err != nil {
		return nil
	}
	return s
}

// Agree waits until all members have applied the same and checks that they hold the same up to there: what clients have given up
// may still come behind it.
func (g *Group) Agree() {
	g.T.Helper()
	var rev int64
	same := func() bool {
		var first *clientv3.StatusResponse
		for _, m := range g.Members {
			s := g.Status(m)
			if s == nil {
				return false
			}
			if first == nil {
				first = s
			} else if s.RaftAppliedIndex != first.RaftAppliedIndex || s.Header.Revision != first.Header.Revision {
				return false
			}
		}
		rev = first.Header.Revision
		return true
	}
	require.Eventually(g.T, same, Patience, 50*time.Millisecond, "the members do not come to the same index")
	hashes := map[uint32]string{}
	for _, m := range g.Members {
		h, err := g.Inside(m).HashKV(Within(g.T, Patience), m.URL(), rev)
		require.NoError(g.T, err)
		hashes[h.Hash] += fmt.Sprintf("%s at %d of %d, ", m.Name, h.HashRevision, h.Header.Revision)
	}
	require.Len(g.T, hashes, 1, "the members hold different data: %v", hashes)
}
