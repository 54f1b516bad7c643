package v2http

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// member is a backend over a machine in memory. The test decides what is known of leaders and failures.
type member struct {
	t       *testing.T
	machine *machine.Machine
	index   uint64
	id      cluster.ID
	lead    cluster.ID
	readErr error
	failure error
}

func newMember(t *testing.T) *member {
	m, err := machine.Open(machine.Config{MaxLearners: 1}, mem.New())
	require.NoError(t, err)
	b := &member{t: t, machine: m, id: 0xa1, lead: 0xa1}
	entries, err := cluster.BootstrapEntries([]cluster.Member{{ID: b.id, PeerURLs: []string{"http://127.0.0.1:1"}}})
	require.NoError(t, err)
	b.apply(entries...)
	return b
}

func (b *member) apply(entries ...*raftpb.Entry) {
	for _, e := range entries {
		b.index++
		e.Index, e.Term = &b.index, new(uint64(1))
		require.NoError(b.t, b.machine.Apply([]*raftpb.Entry{e}, new(machine.Effects)))
	}
}

func (b *member) command(k wire.Kind, m proto.Message) {
	c, err := wire.MessageCommand(1, k, m)
	require.NoError(b.t, err)
	b.apply(&raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Data: wire.AppendCommand(nil, c)})
}

func (b *member) alarm(t pb.AlarmType) {
	b.command(wire.KindAlarm, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: uint64(b.id), Alarm: t})
}

func (b *member) agree(version string) {
	b.command(wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: version})
}

// addLearner adds a member that is a learner, and makes it the one that serves.
func (b *member) becomeLearner() {
	id := uint64(0xb2)
	cc, err := proto.Marshal(&raftpb.ConfChange{Type: raftpb.ConfChangeAddLearnerNode.Enum(), NodeId: &id,
		Context: []byte(`{"id":178,"peerURLs":["http://127.0.0.1:2"],"isLearner":true}`)})
	require.NoError(b.t, err)
	b.apply(&raftpb.Entry{Type: raftpb.EntryConfChange.Enum(), Data: cc})
	b.id = cluster.ID(id)
}

func (b *member) View() *machine.View            { return b.machine.View() }
func (b *member) Read(ctx context.Context) error { return b.readErr }
func (b *member) Failed() error                  { return b.failure }
func (b *member) MemberID() cluster.ID           { return b.id }
func (b *member) Leader() cluster.ID             { return b.lead }
func (b *member) IsLeader() bool                 { return b.lead == b.id }
func (b *member) Committed() uint64              { return b.index }
func (b *member) RequestTimeout() time.Duration  { return time.Second }

// site is the pages of a member.
type site struct {
	t       *testing.T
	api     *API
	handler http.Handler
}

func newSite(t *testing.T, b *member, change func(*Config)) *site {
	cfg := Config{Version: "3.7.3", Registry: prometheus.NewRegistry(),
		Access: Access{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	if change != nil {
		change(&cfg)
	}
	api := New(b, cfg)
	mux := http.NewServeMux()
	api.Routes(mux)
	mux.HandleFunc("/v3/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "v3:"+r.URL.Path) })
	return &site{t: t, api: api, handler: api.Guard(mux)}
}

func (s *site) do(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func (s *site) metric(line string) bool {
	body := s.do("GET", "/metrics").Body.String()
	return strings.Contains("\n"+body, "\n"+line+"\n")
}
