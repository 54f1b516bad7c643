package v2http

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// keeper is a member that can be written to, watched, and changed by several goroutines.
type keeper struct {
	*member
	mu    sync.Mutex
	view  *machine.View
	paths *watch.Paths
	fail  error // of the next proposals
	reads int

	added   []string
	changed error // of changes of members
}

func (k *keeper) View() *machine.View {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.view
}

func (k *keeper) Tree() *tree.View { return k.View().Tree }

func (k *keeper) Committed() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.index
}

func (k *keeper) Read(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	return k.readErr
}

func (k *keeper) Propose(_ context.Context, kind wire.Kind, body []byte) (machine.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return machine.Result{}, k.fail
	}
	k.index++
	eff := new(machine.Effects)
	data := wire.AppendCommand(nil, &wire.Command{ID: k.index, Kind: kind, Body: body})
	require.NoError(k.t, k.machine.Apply([]*raftpb.Entry{{Index: new(k.index), Term: new(uint64(1)), Data: data}}, eff))
	k.view = k.machine.View()
	k.mu.Unlock() // who is told looks at the view
	k.paths.Publish(eff.Events)
	k.mu.Lock()
	return eff.Results[0], eff.Results[0].Err
}

func (k *keeper) Paths() *watch.Paths    { return k.paths }
func (k *keeper) Term() uint64           { return 7 }
func (k *keeper) LeaderSince() time.Time { return time.Now().Add(-time.Minute) }

func (k *keeper) AddMember(_ context.Context, urls []string, _ cluster.Kind) (cluster.Member, error) {
	k.added = append(k.added, strings.Join(urls, " "))
	return cluster.Member{ID: 0xbee, PeerURLs: urls}, k.changed
}
func (k *keeper) RemoveMember(context.Context, cluster.ID) error           { return k.changed }
func (k *keeper) UpdateMember(context.Context, cluster.ID, []string) error { return k.changed }

// v2site is all of the v2 API over one member, with a clock that the test moves.
type v2site struct {
	t       *testing.T
	b       *keeper
	keys    *Keys
	now     time.Time
	level   slog.LevelVar
	appends Appends
	handler http.Handler
}

func newV2Site(t *testing.T) *v2site {
	s := &v2site{t: t, b: &keeper{member: newMember(t)}, now: time.Date(2031, 5, 4, 10, 20, 30, 123456789, time.UTC)}
	s.b.view = s.b.machine.View()
	s.b.paths = watch.NewPaths(s.b, s.b.view.Tree.Index)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	pw, err := password.New(password.Config{Cost: 4})
	require.NoError(t, err)
	cfg := Config{Version: "3.7.3", Registry: prometheus.NewRegistry(), Access: Access{Logger: log}}
	api := New(s.b, cfg)
	mux := http.NewServeMux()
	api.Routes(mux)
	mux.Handle("/config/local/log", &LogLevel{Level: &s.level, Logger: log})
	router := NewRouter(mux)
	auth := NewAuth(s.b, s.b, pw, false, "c1", log)
	s.keys = NewKeys(s.b, s.b, auth, "c1")
	s.keys.now = func() time.Time { return s.now }
	s.keys.Register(cfg.Registry)
	stats := NewStats(s.b, s.b, func() Appends { return s.appends }, s.keys, "n1", s.now)
	members := NewMembers(s.b, s.b, auth, "c1")
	for p, h := range map[string]http.Handler{"/v2/keys": s.keys, "/v2/keys/": s.keys, "/v2/auth/": auth, "/v2/members": members, "/v2/members/": members,
		"/v2/machines": Machines{s.b}, "/v2/stats/self": stats, "/v2/stats/leader": stats, "/v2/stats/store": stats} {
		router.Handle(p, h)
	}
	s.handler = api.Guard(router)
	for s.b.view.Tree.Index < 3 { // what the start of a member takes (K-08)
		s.b.agree([]string{"", "3.5.0", "3.6.0"}[s.b.view.Tree.Index])
		s.b.view = s.b.machine.View()
	}
	return s
}

func (s *v2site) send(method, target, contentType, body string) *httptest.ResponseRecorder {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second) // for one that waits, and should not
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// tick ends what is to end, as the leader does.
func (s *v2site) tick(d time.Duration) {
	s.now = s.now.Add(d)
	q := wire.V2Request{Method: wire.V2Sync, Time: s.now.UnixNano()}
	_, err := s.b.Propose(context.Background(), wire.KindV2, q.Append(nil))
	require.NoError(s.t, err)
}

// run runs a script. A section begins with "==", the rules that it shows, and a new member. Each line is
//
//	METHOD path [| form] => status [text && text ...]
//
// A path below /v2 is written in full, another is a key's. A text has to be in the body; after "=" it has to be all of it,
// after "!" it must not be there, and "Name: value" is a header. "tick 5s" lets time go by.
func runScript(t *testing.T, script string) {
	var s *v2site
	var section string
	for n, line := range strings.Split(script, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "=="):
			section, s = strings.TrimSpace(line[2:]), newV2Site(t)
		case strings.HasPrefix(line, "tick "):
			d, err := time.ParseDuration(line[5:])
			require.NoError(t, err)
			s.tick(d)
		default:
			s.line(t, section+" line "+strconv.Itoa(n), line)
		}
	}
}

var headLine = regexp.MustCompile(`^([A-Z][A-Za-z-]+):( .*)?$`)

func (s *v2site) line(t *testing.T, at, line string) {
	t.Helper()
	left, want, ok := strings.Cut(line, " => ")
	require.True(t, ok, "%s: no answer in %q", at, line)
	left, form, _ := strings.Cut(left, " | ")
	method, target, _ := strings.Cut(strings.TrimSpace(left), " ")
	full := target
	if !strings.HasPrefix(target, "/v2") && !strings.HasPrefix(target, "!") {
		full = "/v2/keys" + target
	}
	full = strings.TrimPrefix(full, "!")
	kind := ""
	if form != "" {
		kind = "application/x-www-form-urlencoded"
		if strings.HasPrefix(form, "{") {
			kind = "application/json"
		}
	}
	w := s.send(method, full, kind, form)
	status, texts, _ := strings.Cut(want, " ")
	body := w.Body.String()
	require.Equal(t, status, strconv.Itoa(w.Code), "%s: %s: %s", at, line, body)
	if texts == "" {
		return
	}
	for _, text := range strings.Split(texts, " && ") {
		switch head := headLine.FindStringSubmatch(text); {
		case strings.HasPrefix(text, "="):
			require.Equal(t, strings.ReplaceAll(text[1:], `\n`, "\n"), body, "%s: %s", at, line)
		case strings.HasPrefix(text, "!"):
			require.NotContains(t, body, text[1:], "%s: %s", at, line)
		case head != nil:
			require.Equal(t, strings.TrimSpace(head[2]), strings.Join(w.Header()[head[1]], ", "), "%s: %s %s", at, line, head[1])
		default:
			require.Contains(t, body, text, "%s: %s", at, line)
		}
	}
}

func contains(body, text string) bool { return strings.Contains(body, text) }
