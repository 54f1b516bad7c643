package peer

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/test/fuzz"
)

// FuzzMessage holds the decoder of messages against the generated one: both accept the same bytes, and in the same sense.
func FuzzMessage(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		b, err := proto.Marshal(randomMessage(rng, 40))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte{0x3a, 5, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var want raftpb.Message
		wantErr := proto.Unmarshal(b, &want)
		for _, shared := range []bool{false, true} {
			got, err := parseMessage(b, shared)
			require.Equal(t, wantErr == nil, err == nil, "%v %v", wantErr, err)
			if err != nil {
				continue
			}
			require.True(t, proto.Equal(&want, got), "\n%v\n%v", &want, got)
			var p page
			p.reset()
			require.NoError(t, p.message(got))
			require.Equal(t, messageSize(got), p.size())
		}
	})
}

// FuzzStream reads any bytes as both kinds of stream: in one piece and in small ones gives the same messages, and what was
// read can be written and read again.
func FuzzStream(f *testing.F) {
	for _, kind := range []streamKind{streamApp, streamMessage} {
		w := newTestWriter(kind)
		w.heartbeat()
		for _, m := range appMessages(1, 2, 3, 2, 10) {
			require.NoError(f, w.message(m))
		}
		f.Add(kind == streamApp, w.frames())
	}
	f.Add(true, []byte{1, 0, 0, 0, 0, 0, 0xf, 0xff, 0xff})
	f.Add(false, []byte{0, 0, 0, 0, 0x1f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, app bool, b []byte) {
		defer fuzz.Frugal(t, 32<<20)()
		kind := streamMessage
		if app {
			kind = streamApp
		}
		whole := newFrameReader(kind, bytes.NewReader(b), 2, 1)
		parts := newFrameReader(kind, iotest.OneByteReader(bytes.NewReader(b)), 2, 1)
		w := newTestWriter(kind)
		messages := 0
		for ; ; messages++ {
			m, n, err := whole.next()
			o, k, other := parts.next()
			require.Equal(t, err == nil, other == nil, "%v %v", err, other)
			if err != nil {
				break
			}
			require.Equal(t, n, k)
			require.True(t, proto.Equal(m, o))
			w.put(t, m)
		}
		// Fields that nobody here knows are not written again, so it is what was written that has to stay the same.
		again, x := newFrameReader(kind, bytes.NewReader(w.frames()), 2, 1), newTestWriter(kind)
		for range messages {
			m, _, err := again.next()
			require.NoError(t, err)
			x.put(t, m)
		}
		require.Equal(t, w.frames(), x.frames())
	})
}

// put writes a message, or a heartbeat for none.
func (w *frameWriter) put(t *testing.T, m *raftpb.Message) {
	if m == nil {
		w.heartbeat()
		return
	}
	require.NoError(t, w.message(m))
}

// FuzzRequest sends any request to the handler, with headers that are right or any.
func FuzzRequest(f *testing.F) {
	head := append(make([]byte, 7), 4)
	snap, err := proto.Marshal(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(1)), From: new(uint64(2)), Snapshot: &raftpb.Snapshot{}})
	require.NoError(f, err)
	for _, path := range []string{pathRaft, pathStream + "msgapp/2", pathStream + "message/zz", pathStream, pathSnapshot, pathProbing, pathMembers,
		pathPromote + "7", pathHashKV, pathVersion, pathLeases, pathLeaseInternal, pathDowngrade, "/", "/raft/x"} {
		f.Add(path, true, true, "3.7.3", "http://127.0.0.1:1,unix://x:1", []byte("{}"))
		f.Add(path, true, false, "", ",,%zz", append(append(append([]byte(nil), head[:7]...), byte(len(snap))), snap...))
		f.Add(path, false, true, "x.y.z", "", head)
	}
	m := &testMember{tb: f, id: 1, removed: nil, unreachable: nil}
	m.start(nil)
	m.answerAll()
	f.Cleanup(m.t.Stop)
	f.Fuzz(func(t *testing.T, path string, post, own bool, version, urls string, body []byte) {
		defer fuzz.Frugal(t, 32<<20)()
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		r := httptest.NewRequest(method, "http://x/", bytes.NewReader(body))
		r.URL.Path = path
		r.Header = http.Header{headVersion: {version}, headMinVersion: {version}, headFrom: {"2"}, headPeerURLs: {urls}, headTo: {"1"}, headCluster: {urls}}
		if own {
			r.Header.Set(headCluster, testCluster.String())
		}
		w := httptest.NewRecorder()
		m.t.Handler().ServeHTTP(w, r)
		require.NotZero(t, w.Code)
		if w.Code == http.StatusForbidden { // never without a message that says so
			var got raftpb.Message
			require.True(t, path == pathRaft || path == pathSnapshot)
			if path == pathRaft {
				require.NoError(t, proto.Unmarshal(body, &got))
				require.NotEqual(t, uint64(1), got.GetTo())
			}
		}
	})
}
