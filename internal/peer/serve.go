package peer

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// The paths of the peer listener.
const (
	pathRaft          = "/raft"
	pathStream        = "/raft/stream/"
	pathSnapshot      = "/raft/snapshot"
	pathProbing       = "/raft/probing"
	pathMembers       = "/members"
	pathPromote       = "/members/promote/"
	pathHashKV        = "/members/hashkv"
	pathVersion       = "/version"
	pathLeases        = "/leases"
	pathLeaseInternal = "/leases/internal"
	pathDowngrade     = "/downgrade/enabled"
)

// The two reasons for a 403. Whoever is told one of them stops for good, so nothing else may be answered with it.
const (
	saysRemoved  = "cannot process message from removed member"
	saysMismatch = "cannot process message to mismatch member"
)

// limits bounds the requests that hold much memory or disk. What is above them is told to come back.
type limits struct {
	posts  chan struct{} // messages of up to maxMessage, which take memory as they arrive
	images chan struct{}
}

func newLimits() limits {
	return limits{posts: make(chan struct{}, 64), images: make(chan struct{}, 4)}
}

// Handler answers everything that members ask each other. Anything else is not found.
func (t *Transport) Handler() http.Handler { return http.HandlerFunc(t.serve) }

func (t *Transport) serve(w http.ResponseWriter, r *http.Request) {
	if !t.enter() {
		http.Error(w, "member has stopped", http.StatusServiceUnavailable)
		return
	}
	defer t.wg.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body := &timedBody{r: r.Body, way: http.NewResponseController(w), timeout: t.cfg.ReadTimeout, ctx: ctx}
	defer context.AfterFunc(t.ctx, func() {
		cancel()
		body.interrupt()
	})()
	r = r.WithContext(ctx)
	r.Body = body
	switch path := r.URL.Path; {
	case path == pathRaft:
		t.serveMessage(w, r)
	case strings.HasPrefix(path, pathStream):
		t.serveStream(w, r)
	case path == pathSnapshot:
		t.serveSnapshot(w, r)
	case path == pathProbing:
		_ = json.NewEncoder(w).Encode(health{OK: true, Now: time.Now()})
	default:
		t.serveMember(w, r)
	}
}

// warn logs what others make happen, at most once a second: they try ten times.
func (t *Transport) warn(text string, args ...any) {
	now := time.Now().UnixNano()
	if last := t.warned.Load(); now-last > int64(time.Second) && t.warned.CompareAndSwap(last, now) {
		t.log.Warn(text, args...)
	}
}

// allowed answers requests of another method than the one there is.
func allowed(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

// welcome compares the caller's version and cluster with this member's, and answers if they do not go together.
func (t *Transport) welcome(w http.ResponseWriter, r *http.Request) bool {
	w.Header()[headCluster] = []string{t.me.cluster.String()}
	if err := t.me.compatible(r.Header); err != nil {
		t.warn("ignored a request of another member", "error", err.Error(), "remote-peer-server-name", r.Header.Get(headFrom),
			"remote-peer-server-version", r.Header.Get(headVersion), "remote-peer-cluster-id", r.Header.Get(headCluster))
		http.Error(w, err.Error(), http.StatusPreconditionFailed)
		return false
	}
	return true
}

// meet remembers who has sent a post, if that is no member here.
func (t *Transport) meet(r *http.Request) {
	if urls := r.Header.Get(headPeerURLs); urls != "" {
		if from, err := parseID(r.Header.Get(headFrom)); err == nil {
			t.remember(from, strings.SplitN(urls, ",", maxURLs+1))
		}
	}
}

// addressed answers messages that must not be stepped: from a removed member, or to another one.
func (t *Transport) addressed(w http.ResponseWriter, m *raftpb.Message) bool {
	reason := ""
	switch from := cluster.ID(m.GetFrom()); {
	case t.cfg.Raft.Removed(from):
		reason = saysRemoved
	case m.GetTo() != uint64(t.cfg.ID):
		reason = saysMismatch
	default:
		if p := t.peer(from); p != nil && p.cut.Load() {
			http.Error(w, "paused", http.StatusInternalServerError)
			return false
		}
		return true
	}
	t.warn("rejected Raft message", "reason", reason, "from", cluster.ID(m.GetFrom()).String(), "to", cluster.ID(m.GetTo()).String())
	writeMessage(w, http.StatusForbidden, reason)
	return false
}

// writeMessage answers with an error in the form of etcd's HTTP errors.
func writeMessage(w http.ResponseWriter, code int, text string) {
	b, _ := json.Marshal(struct {
		Message string `json:"message"`
	}{text})
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(b)
}

// acquire takes a token, or answers that there is none.
func acquire(w http.ResponseWriter, tokens chan struct{}) bool {
	select {
	case tokens <- struct{}{}:
		return true
	default:
		http.Error(w, "too many requests", http.StatusServiceUnavailable)
		return false
	}
}
