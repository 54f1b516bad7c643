package peers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/peer"
	"github.com/cairn-kv/cairn/internal/wire"
)

// cairnMember is a member of which only cairn's transport is real.
type cairnMember struct {
	id  cluster.ID
	url string
	t   *peer.Transport

	mu          sync.Mutex
	got         []*raftpb.Message
	images      [][]byte
	removed     map[cluster.ID]bool
	unreachable int
	sent        []error
	expelled    []error
	down        int
}

// listen serves on a port of its own, with the handler that is set later.
func listen(tb testing.TB) (url string, set func(http.Handler)) {
	var handler atomic.Pointer[http.Handler]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := handler.Load(); h != nil {
			(*h).ServeHTTP(w, r)
		}
	}))
	tb.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return srv.URL, func(h http.Handler) { handler.Store(&h) }
}

func newCairnMember(tb testing.TB, id cluster.ID) *cairnMember {
	m := &cairnMember{id: id, removed: map[cluster.ID]bool{}}
	url, set := listen(tb)
	m.url = url
	m.t = peer.New(peer.Config{ID: id, ClusterID: testCluster, PeerURLs: []string{url}, Version: "3.7.3", MinClusterVersion: "3.0.0", Raft: m, Member: m})
	set(m.t.Handler())
	tb.Cleanup(m.t.Stop)
	return m
}

// look runs f with what the member was told.
func (m *cairnMember) look(f func() bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return f()
}

func (m *cairnMember) Process(_ context.Context, msg *raftpb.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, msg)
	return nil
}

func (m *cairnMember) ProcessSnapshot(_ context.Context, msg *raftpb.Message, image io.Reader) error {
	b, err := io.ReadAll(image)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.got, m.images = append(m.got, msg), append(m.images, b)
	}
	return err
}

func (m *cairnMember) Removed(id cluster.ID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed[id]
}

func (m *cairnMember) Unreachable(cluster.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unreachable++
}

func (m *cairnMember) SnapshotSent(_ cluster.ID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent = append(m.sent, err)
}

func (m *cairnMember) Expelled(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expelled = append(m.expelled, err)
}

func (m *cairnMember) Down(cluster.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down++
}

func (m *cairnMember) Members() []cluster.Member {
	return []cluster.Member{{ID: m.id, PeerURLs: []string{m.url}, Name: "a", ClientURLs: []string{"http://c"}}, {ID: 7, PeerURLs: []string{"http://b"}, IsLearner: true}}
}

func (m *cairnMember) Version() (string, string) { return "3.7.3", "3.7.0" }

func (m *cairnMember) Promote(context.Context, cluster.ID) ([]cluster.Member, error) {
	return nil, wire.ErrMemberNotLearner
}

func (m *cairnMember) Renew(_ context.Context, id int64) (int64, error) {
	switch id {
	case 1:
		return 60, nil
	case 2:
		return 0, wire.ErrTimeout
	}
	return 0, nil
}

func (m *cairnMember) TimeToLive(_ context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, error) {
	if id != 1 {
		return nil, wire.ErrLeaseNotFound
	}
	return &pb.LeaseTimeToLiveResponse{ID: id, TTL: 59, GrantedTTL: 60, Keys: [][]byte{[]byte("k")}}, nil
}

func (m *cairnMember) HashKV(_ context.Context, rev int64) (*pb.HashKVResponse, error) {
	if rev == 1 {
		return nil, wire.ErrCompacted
	}
	return &pb.HashKVResponse{Header: &pb.ResponseHeader{Revision: 9}, Hash: 7, CompactRevision: 3, HashRevision: rev}, nil
}

func (m *cairnMember) DowngradeEnabled(context.Context) (bool, error) {
	return false, errors.New("no leader")
}

// eventually waits until f holds.
func eventually(tb testing.TB, what string, f func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within 10 s: %s", what)
		}
	}
}
