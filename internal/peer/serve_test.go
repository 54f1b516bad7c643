package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/wire"
)

// answerAll gives a member something to say to every question.
func (m *testMember) answerAll() {
	m.members = []cluster.Member{{ID: 1, PeerURLs: []string{"http://a:1"}, Name: "a", ClientURLs: []string{"http://a:2"}}, {ID: 255, PeerURLs: []string{"http://b:1"}, IsLearner: true}}
	m.lease = func(_ context.Context, id int64) (int64, error) {
		switch id {
		case 1:
			return 60, nil
		case 2:
			return 0, wire.ErrTimeoutWaitAppliedIndex
		case 3:
			return 0, wire.ErrNotLeader
		case 4:
			return 0, errors.New("broken")
		}
		return 0, nil
	}
	m.ttl = func(ctx context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, error) {
		if ttl, err := m.lease(ctx, id); err != nil {
			return nil, err
		} else if ttl == 0 {
			return nil, wire.ErrLeaseNotFound
		}
		r := &pb.LeaseTimeToLiveResponse{ID: id, TTL: 59, GrantedTTL: 60}
		if keys {
			r.Keys = [][]byte{[]byte("k")}
		}
		return r, nil
	}
	m.promote = func(ctx context.Context, id cluster.ID) ([]cluster.Member, error) {
		switch id {
		case 1:
			return nil, wire.ErrMemberNotLearner
		case 2:
			return nil, wire.ErrMemberNotFound
		case 3:
			return nil, wire.ErrLearnerNotReady
		case 4:
			return nil, wire.ErrTimeout
		}
		m.members[1].Name = TokenFrom(ctx)
		return m.members, nil
	}
	m.hash = func(rev int64) (*pb.HashKVResponse, error) {
		switch rev {
		case 1:
			return nil, wire.ErrCompacted
		case 99:
			return nil, wire.ErrFutureRev
		}
		return &pb.HashKVResponse{Header: &pb.ResponseHeader{Revision: 9, ClusterId: 5}, Hash: 7, CompactRevision: 3, HashRevision: rev}, nil
	}
	m.downgrade = func() (bool, error) { return true, nil }
}

// direct is a member that answers without a network.
func direct(t *testing.T) *testMember {
	m := &testMember{tb: t, id: 0x1f, removed: map[cluster.ID]bool{}, unreachable: map[cluster.ID]int{}}
	m.start(nil)
	m.answerAll()
	t.Cleanup(m.t.Stop)
	return m
}

// rightHead are the headers of a member that is welcome.
func rightHead() http.Header {
	return http.Header{headVersion: {"3.6.1"}, headMinVersion: {"3.0.0"}, headCluster: {"c1"}, headFrom: {"2a"}, headTo: {"1f"}}
}

func message(m *raftpb.Message) string {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func framed(m *raftpb.Message, image string) string {
	b := message(m)
	return string(binary.BigEndian.AppendUint64(nil, uint64(len(b)))) + b + image
}

// TestAnswers goes over operations.md section 8.2.
func TestAnswers(t *testing.T) {
	beat := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), To: new(uint64(0x1f)), From: new(uint64(0x2a))}
	astray := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), To: new(uint64(0x20)), From: new(uint64(0x2a))}
	snap := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(0x1f)), From: new(uint64(0x2a)), Snapshot: &raftpb.Snapshot{Data: []byte("{}")}}
	lost := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(9)), From: new(uint64(0x2a)), Snapshot: &raftpb.Snapshot{}}
	keepAlive := func(id int64) string {
		b, _ := proto.Marshal(&pb.LeaseKeepAliveRequest{ID: id})
		return string(b)
	}
	ttl := func(id int64) string {
		b, _ := proto.Marshal(&pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
		return string(wrap(b))
	}
	const (
		get, post = http.MethodGet, http.MethodPost
		removed   = `{"message":"cannot process message from removed member"}`
		mismatch  = `{"message":"cannot process message to mismatch member"}`
	)
	for _, c := range []struct {
		name, method, path, body string
		change                   func(m *testMember, h http.Header)
		code                     int
		want                     string
	}{
		{"message", post, "/raft", message(beat), nil, 204, ""},
		{"message by GET", get, "/raft", "", nil, 405, "Method Not Allowed\n"},
		{"message that is none", post, "/raft", "\xff\xff", nil, 400, "error unmarshalling raft message\n"},
		{"message to another", post, "/raft", message(astray), nil, 403, mismatch},
		{"message of a removed member", post, "/raft", message(beat), func(m *testMember, _ http.Header) { m.removed[0x2a] = true }, 403, removed},
		{"message of a type that stays at home", post, "/raft", message(&raftpb.Message{Type: raftpb.MsgStorageAppendResp.Enum(), To: new(uint64(0x1f)), From: new(uint64(math.MaxUint64))}),
			nil, 400, "wrong raft message type\n"},
		{"message that is refused", post, "/raft", message(beat), func(m *testMember, _ http.Header) { m.processErr = errTest }, 500, "error processing raft message\n"},
		{"message of another cluster", post, "/raft", message(beat), func(_ *testMember, h http.Header) { h.Set(headCluster, "c2") }, 412, "cluster ID mismatch\n"},
		{"message of an old version", post, "/raft", message(beat), func(_ *testMember, h http.Header) { h.Set(headVersion, "2.3.8") }, 412, "incompatible version\n"},
		{"message without a version", post, "/raft", message(beat), func(_ *testMember, h http.Header) { h.Del(headVersion) }, 412, "incompatible version\n"},
		{"message of a version too new for us", post, "/raft", message(beat), func(_ *testMember, h http.Header) { h.Set(headMinVersion, "3.8.0") }, 412, "incompatible version\n"},
		{"message of no version", post, "/raft", message(beat), func(_ *testMember, h http.Header) { h.Set(headVersion, "three") }, 412, "incompatible version\n"},
		{"message of a version that is not out", post, "/raft", message(beat), func(_ *testMember, h http.Header) { h.Set(headVersion, "3.8.0-alpha.1+x.y") }, 204, ""},

		{"stream by POST", post, "/raft/stream/msgapp/2a", "", nil, 405, "Method Not Allowed\n"},
		{"stream of another kind", get, "/raft/stream/other/2a", "", nil, 404, "invalid path\n"},
		{"stream of two", get, "/raft/stream/msgapp/2a/2b", "", nil, 404, "invalid from\n"},
		{"stream of nobody", get, "/raft/stream/msgapp/xyz", "", nil, 404, "invalid from\n"},
		{"stream of an unknown member", get, "/raft/stream/message/2b", "", nil, 404, "error sender not found\n"},
		{"stream of a removed member", get, "/raft/stream/message/2b", "", func(m *testMember, _ http.Header) { m.removed[0x2b] = true }, 410, "removed member\n"},
		{"stream for another", get, "/raft/stream/message/2a", "", func(_ *testMember, h http.Header) { h.Set(headTo, "20") }, 412, "to field mismatch\n"},
		{"stream of another cluster", get, "/raft/stream/message/2a", "", func(_ *testMember, h http.Header) { h.Set(headCluster, "") }, 412, "cluster ID mismatch\n"},
		{"stream that cannot be", get, "/raft/stream/message/2a", "", nil, 505, "streams are served over HTTP/1.1 only\n"}, // by a recorder

		{"snapshot", post, "/raft/snapshot", framed(snap, "the image"), nil, 204, ""},
		{"snapshot by GET", get, "/raft/snapshot", "", nil, 405, "Method Not Allowed\n"},
		{"snapshot to another", post, "/raft/snapshot", framed(lost, ""), nil, 403, mismatch},
		{"snapshot of a removed member", post, "/raft/snapshot", framed(snap, ""), func(m *testMember, _ http.Header) { m.removed[0x2a] = true }, 403, removed},
		{"snapshot of another type", post, "/raft/snapshot", framed(beat, ""), nil, 400, "wrong raft message type\n"},
		{"snapshot too large", post, "/raft/snapshot", "\x00\x00\x00\x00\x04\x00\x00\x01", nil, 400, "failed to decode raft message (peer: a frame exceeds its limit)\n"},
		{"snapshot cut short", post, "/raft/snapshot", "\x00\x00\x00\x00", nil, 400, "failed to decode raft message (unexpected EOF)\n"},
		{"snapshot that is not kept", post, "/raft/snapshot", framed(snap, ""), func(m *testMember, _ http.Header) {
			m.keep = func(*raftpb.Message, io.Reader) error { return errors.New("disk full") }
		}, 500, "failed to process raft message (disk full)\n"},
		{"snapshot of another cluster", post, "/raft/snapshot", framed(snap, ""), func(_ *testMember, h http.Header) { h.Set(headCluster, "c2") }, 412, "cluster ID mismatch\n"},

		{"members", get, "/members", "", nil, 200,
			`[{"id":1,"peerURLs":["http://a:1"],"name":"a","clientURLs":["http://a:2"]},{"id":255,"peerURLs":["http://b:1"],"isLearner":true}]` + "\n"},
		{"members by POST", post, "/members", "", nil, 405, "Method Not Allowed\n"},
		{"promote", post, "/members/promote/255", "", func(_ *testMember, h http.Header) { h.Set("Authorization", "tok") }, 200,
			`[{"id":1,"peerURLs":["http://a:1"],"name":"a","clientURLs":["http://a:2"]},{"id":255,"peerURLs":["http://b:1"],"isLearner":true,"name":"tok"}]` + "\n"},
		{"promote a voter", post, "/members/promote/1", "", nil, 412, "membership: can only promote a learner member\n"},
		{"promote nobody", post, "/members/promote/2", "", nil, 404, "membership: ID not found\n"},
		{"promote too early", post, "/members/promote/3", "", nil, 412, "etcdserver: can only promote a learner member which is in sync with leader\n"},
		{"promote in vain", post, "/members/promote/4", "", nil, 500, `{"message":"Internal Server Error"}`},
		{"promote no number", post, "/members/promote/ff", "", nil, 404, "member ff not found in cluster\n"},
		{"promote by GET", get, "/members/promote/1", "", nil, 405, "Method Not Allowed\n"},
		{"version", get, "/version", "", nil, 200, `{"etcdserver":"3.7.3","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{"hash", get, "/members/hashkv", `{"revision":5}`, nil, 200, `{"header":{"revision":9},"hash":7,"compact_revision":3,"hash_revision":5}`},
		{"hash of what was compacted", get, "/members/hashkv", `{"revision":1}`, nil, 400, "etcdserver: mvcc: required revision has been compacted\n"},
		{"hash of the future", get, "/members/hashkv", `{"revision":99}`, nil, 400, "etcdserver: mvcc: required revision is a future revision\n"},
		{"hash of another cluster", get, "/members/hashkv", `{}`, func(_ *testMember, h http.Header) { h.Set(headCluster, "c2") }, 412, "cluster ID mismatch\n"},
		{"hash without a cluster", get, "/members/hashkv", `{"revision":5}`, func(_ *testMember, h http.Header) { h.Del(headCluster) }, 200,
			`{"header":{"revision":9},"hash":7,"compact_revision":3,"hash_revision":5}`},
		{"hash of nothing", get, "/members/hashkv", ``, nil, 400, "error unmarshalling request\n"},
		{"downgrade", get, "/downgrade/enabled", "", nil, 200, "true"},
		{"downgrade without a leader", get, "/downgrade/enabled", "", func(m *testMember, _ http.Header) {
			m.downgrade = func() (bool, error) { return false, wire.ErrTimeout }
		}, 500, "failed linearized read: etcdserver: request timed out\n"},
		{"lease", post, "/leases", keepAlive(1), nil, 200, "\x10\x01\x18\x3c"},
		{"lease by GET", get, "/leases", "", nil, 405, "Method Not Allowed\n"},
		{"lease that is not there", post, "/leases", keepAlive(9), nil, 404, "lease not found\n"},
		{"lease of a member that is behind", post, "/leases", keepAlive(2), nil, 408, "waiting for node to catch up its applied index has timed out\n"},
		{"lease of a follower", post, "/leases", keepAlive(3), nil, 400, "not a primary lessor\n"},
		{"lease that fails", post, "/leases", keepAlive(4), nil, 500, "broken\n"},
		{"lease without sense", post, "/leases", "\xff", nil, 400, "error unmarshalling request\n"},
		{"lease of great length", post, "/leases", strings.Repeat("x", maxQuestion+1), nil, 413, "request body too large\n"},
		{"time to live", post, "/leases/internal", ttl(1), nil, 200, "\x0a\x0b\x0a\x00\x10\x01\x18\x3b\x20\x3c\x2a\x01k"},
		{"time to live of no lease", post, "/leases/internal", ttl(9), nil, 404, "lease not found\n"},
		{"time to live of nothing", post, "/leases/internal", "", nil, 404, "lease not found\n"},
		{"time to live of a follower", post, "/leases/internal", ttl(3), nil, 500, "not a primary lessor\n"},
		{"time to live without sense", post, "/leases/internal", "\x0a\x05", nil, 400, "error unmarshalling request\n"},
		{"anything else", get, "/", "", nil, 404, "404 page not found\n"},
		{"anything else of raft", get, "/raft/other", "", nil, 404, "404 page not found\n"},
		{"anything else of members", get, "/members/", "", nil, 404, "404 page not found\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := direct(t)
			m.t.SetPeers([]cluster.Member{{ID: 0x1f}, {ID: 0x2a}})
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header = rightHead()
			if c.change != nil {
				c.change(m, r.Header)
			}
			w := httptest.NewRecorder()
			m.t.Handler().ServeHTTP(w, r)
			require.Equal(t, c.code, w.Code, w.Body)
			require.Equal(t, c.want, w.Body.String())
			if strings.HasPrefix(c.path, "/raft/stream/") && c.code != 405 {
				require.Equal(t, "3.7.3", w.Header().Get(headVersion))
			}
			if c.code != 405 && c.code != 404 && !strings.HasPrefix(c.path, "/leases") && c.path != "/version" && (c.code == 200 || c.code == 204) {
				require.Equal(t, "c1", w.Header().Get(headCluster))
			}
			switch {
			case c.code == 405 && !strings.HasPrefix(c.path, "/leases"):
				require.NotEmpty(t, w.Header().Get("Allow"))
			case strings.HasPrefix(c.want, "{") || strings.HasPrefix(c.want, "["):
				require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			case strings.HasPrefix(c.path, "/leases") && c.code == 200:
				require.Equal(t, "application/protobuf", w.Header().Get("Content-Type"))
			}
			if c.name == "snapshot" {
				require.Equal(t, []byte("the image"), m.images[0])
			}
			if c.name == "message" {
				require.True(t, proto.Equal(beat, m.got[0]))
			}
		})
	}
}

func TestProbe(t *testing.T) {
	m := direct(t)
	w := httptest.NewRecorder()
	m.t.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/raft/probing", nil))
	var got struct {
		OK  bool
		Now time.Time
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.True(t, got.OK)
	require.WithinDuration(t, time.Now(), got.Now, time.Second)
}

func TestUndecidedVersion(t *testing.T) {
	m := direct(t)
	m.t.cfg.Member = undecidedMember{m}
	w := httptest.NewRecorder()
	m.t.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/version", nil))
	require.Equal(t, `{"etcdserver":"3.7.3","etcdcluster":"not_decided","storage":"unknown"}`, w.Body.String())
	m.t.cfg.Member = nil
	w = httptest.NewRecorder()
	m.t.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/version", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	m.t.Stop()
	w = httptest.NewRecorder()
	m.t.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/raft", nil))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}

type undecidedMember struct{ *testMember }

func (undecidedMember) Version() (string, string) { return "3.7.3", "" }

// TestClient asks a member everything.
func TestClient(t *testing.T) {
	m := newTestMember(t, 1, nil)
	m.answerAll()
	c := NewClient(nil, 5*time.Second)
	t.Cleanup(c.Close)
	ctx := context.Background()
	id, members, err := c.Members(ctx, m.url)
	require.NoError(t, err)
	require.Equal(t, testCluster, id)
	require.Equal(t, m.members, members)
	server, agreed, err := c.Version(ctx, m.url+"/")
	require.NoError(t, err)
	require.Equal(t, []string{"3.7.3", "3.7.0"}, []string{server, agreed})
	members, err = c.Promote(WithToken(ctx, "tok"), m.url, 255)
	require.NoError(t, err)
	require.Equal(t, "tok", members[1].Name)
	for id, want := range map[cluster.ID]error{1: wire.ErrMemberNotLearner, 2: wire.ErrMemberNotFound, 3: wire.ErrLearnerNotReady} {
		_, err = c.Promote(ctx, m.url, id)
		require.Equal(t, want, err)
	}
	_, err = c.Promote(ctx, m.url, 4)
	require.ErrorContains(t, err, "500")
	ttl, err := c.Renew(ctx, m.url, 1)
	require.NoError(t, err)
	require.Equal(t, int64(60), ttl)
	ttl, err = c.Renew(ctx, m.url, 9)
	require.NoError(t, err)
	require.Zero(t, ttl)
	for id, want := range map[int64]error{2: wire.ErrTimeout, 3: wire.ErrNotPrimary} {
		_, err = c.Renew(ctx, m.url, id)
		require.Equal(t, want, err)
		_, err = c.TimeToLive(ctx, m.url, id, false)
		require.Equal(t, want, err)
	}
	_, err = c.Renew(ctx, m.url, 4)
	require.ErrorContains(t, err, "broken")
	left, err := c.TimeToLive(ctx, m.url, 1, true)
	require.NoError(t, err)
	require.True(t, proto.Equal(&pb.LeaseTimeToLiveResponse{Header: &pb.ResponseHeader{}, ID: 1, TTL: 59, GrantedTTL: 60, Keys: [][]byte{[]byte("k")}}, left))
	_, err = c.TimeToLive(ctx, m.url, 9, true)
	require.Equal(t, wire.ErrLeaseNotFound, err)
	h, err := c.HashKV(ctx, m.url, testCluster, 5)
	require.NoError(t, err)
	require.True(t, proto.Equal(&pb.HashKVResponse{Header: &pb.ResponseHeader{Revision: 9}, Hash: 7, CompactRevision: 3, HashRevision: 5}, h))
	for rev, want := range map[int64]error{1: wire.ErrCompacted, 99: wire.ErrFutureRev} {
		_, err = c.HashKV(ctx, m.url, testCluster, rev)
		require.Equal(t, want, err)
	}
	_, err = c.HashKV(ctx, m.url, 5, 5)
	require.Equal(t, wire.ErrClusterIDMismatch, err)
	on, err := c.DowngradeEnabled(ctx, m.url)
	require.NoError(t, err)
	require.True(t, on)
	for _, url := range []string{"", "x", "http://", "http://127.0.0.1:1", "%"} {
		_, _, err = c.Members(ctx, url)
		require.Error(t, err, url)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = c.Version(canceled, m.url)
	require.ErrorIs(t, err, context.Canceled)
}

// TestClientOfOthers gets answers that no member gives.
func TestClientOfOthers(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "\xff?") }))
	defer srv.Close()
	c := NewClient(nil, 5*time.Second)
	defer c.Close()
	ctx := context.Background()
	_, _, err := c.Members(ctx, srv.URL)
	require.Error(t, err)
	_, _, err = c.Version(ctx, srv.URL)
	require.Error(t, err)
	_, err = c.Promote(ctx, srv.URL, 1)
	require.Error(t, err)
	_, err = c.Renew(ctx, srv.URL, 1)
	require.Error(t, err)
	_, err = c.TimeToLive(ctx, srv.URL, 1, true)
	require.Error(t, err)
	_, err = c.HashKV(ctx, srv.URL, 1, 1)
	require.Error(t, err)
	_, err = c.DowngradeEnabled(ctx, srv.URL)
	require.Error(t, err)
}

func TestUnwrap(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"0a0161", "a"}, {"0a016110070a0162", "ab"}, {"0a05", "error"}, {"ff", "error"}, {"1d01", "error"},
	} {
		got, err := unwrap(unhex(t, c.in))
		if c.want == "error" {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, string(got))
	}
	require.True(t, bytes.Equal([]byte{0x0a, 1, 'a'}, wrap([]byte("a"))))
}
