package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

const testCluster = cluster.ID(0xc1)

// testMember is a member of which only the transport is real.
type testMember struct {
	tb   testing.TB
	id   cluster.ID
	addr string
	url  string
	t    *Transport
	srv  *http.Server

	onProcess func(*raftpb.Message)

	mu          sync.Mutex
	got         []*raftpb.Message
	images      [][]byte
	removed     map[cluster.ID]bool
	unreachable map[cluster.ID]int
	sent        []error
	expelled    []error
	down        []cluster.ID
	processErr  error
	keep        func(m *raftpb.Message, image io.Reader) error
	members     []cluster.Member
	lease       func(ctx context.Context, id int64) (int64, error)
	ttl         func(ctx context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, error)
	promote     func(ctx context.Context, id cluster.ID) ([]cluster.Member, error)
	hash        func(rev int64) (*pb.HashKVResponse, error)
	downgrade   func() (bool, error)
}

func newTestMember(tb testing.TB, id cluster.ID, onProcess func(*raftpb.Message)) *testMember {
	m := &testMember{tb: tb, id: id, onProcess: onProcess, removed: map[cluster.ID]bool{}, unreachable: map[cluster.ID]int{}}
	m.listen("127.0.0.1:0")
	m.start(nil)
	tb.Cleanup(m.stop)
	return m
}

func (m *testMember) listen(addr string) net.Listener {
	var l net.Listener
	var err error
	for range 100 { // the port of a member that is restarted may not be free at once
		if l, err = net.Listen("tcp", addr); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.NoError(m.tb, err)
	m.addr = l.Addr().String()
	m.url = "http://" + m.addr
	m.srv = &http.Server{}
	m.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.handler().ServeHTTP(w, r) })
	go func() { _ = m.srv.Serve(l) }()
	return l
}

func (m *testMember) handler() http.Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.t.Handler()
}

func (m *testMember) start(change func(*Config)) {
	cfg := Config{ID: m.id, ClusterID: testCluster, PeerURLs: []string{m.url}, Version: "3.7.3", MinClusterVersion: "3.0.0", Raft: m, Member: m}
	if os.Getenv("PEER_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if change != nil {
		change(&cfg)
	}
	m.mu.Lock()
	m.t = New(cfg)
	m.mu.Unlock()
}

// stop ends the member as a killed process would.
func (m *testMember) stop() {
	_ = m.srv.Close()
	m.t.Stop()
}

func (m *testMember) self() cluster.Member {
	return cluster.Member{ID: m.id, PeerURLs: []string{m.url}, Name: fmt.Sprintf("m%d", m.id), ClientURLs: []string{"http://c"}}
}

// connect makes members of all, and waits until every stream is open.
func connect(tb testing.TB, all ...*testMember) {
	var members []cluster.Member
	for _, m := range all {
		members = append(members, m.self())
	}
	for _, m := range all {
		m.t.SetPeers(members)
	}
	for _, a := range all {
		for _, b := range all {
			if a != b {
				a.awaitStreams(tb, b.id)
			}
		}
	}
}

func (m *testMember) awaitStreams(tb testing.TB, to cluster.ID) {
	require.Eventually(tb, func() bool {
		p := m.t.peer(to)
		return p != nil && p.app.Load() != nil && p.message.Load() != nil
	}, 5*time.Second, time.Millisecond)
}

func (m *testMember) Process(_ context.Context, msg *raftpb.Message) error {
	if m.onProcess != nil {
		m.onProcess(msg)
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, msg)
	return m.processErr
}

func (m *testMember) received() []*raftpb.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*raftpb.Message(nil), m.got...)
}

func (m *testMember) await(n int) []*raftpb.Message {
	require.Eventually(m.tb, func() bool { return len(m.received()) >= n }, 10*time.Second, time.Millisecond)
	return m.received()
}

func (m *testMember) ProcessSnapshot(_ context.Context, msg *raftpb.Message, image io.Reader) error {
	m.mu.Lock()
	keep := m.keep
	m.mu.Unlock()
	if keep != nil {
		return keep(msg, image)
	}
	b, err := io.ReadAll(image)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	m.images = append(m.images, b)
	m.got = append(m.got, msg)
	return nil
}

func (m *testMember) Removed(id cluster.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed[id]
}

func (m *testMember) Unreachable(id cluster.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unreachable[id]++
}

func (m *testMember) SnapshotSent(_ cluster.ID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, err)
}

func (m *testMember) Expelled(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expelled = append(m.expelled, err)
}

func (m *testMember) Down(id cluster.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = append(m.down, id)
}

// look runs f with what the member was told.
func (m *testMember) look(f func() bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return f()
}

func (m *testMember) eventually(f func() bool) {
	m.tb.Helper()
	require.Eventually(m.tb, func() bool { return m.look(f) }, 10*time.Second, time.Millisecond)
}

func (m *testMember) Members() []cluster.Member { return m.members }
func (m *testMember) Version() (string, string) { return "3.7.3", "3.7.0" }

func (m *testMember) Promote(ctx context.Context, id cluster.ID) ([]cluster.Member, error) {
	return m.promote(ctx, id)
}

func (m *testMember) Renew(ctx context.Context, id int64) (int64, error) { return m.lease(ctx, id) }

func (m *testMember) TimeToLive(ctx context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, error) {
	return m.ttl(ctx, id, keys)
}

func (m *testMember) HashKV(_ context.Context, rev int64) (*pb.HashKVResponse, error) {
	return m.hash(rev)
}

func (m *testMember) DowngradeEnabled(context.Context) (bool, error) { return m.downgrade() }

var errTest = errors.Join(errors.New("test"), wire.ErrTimeout)
