package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

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

func (t *Transport) serveMessage(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodPost) || !t.welcome(w, r) || !acquire(w, t.serving.posts) {
		return
	}
	defer func() { <-t.serving.posts }()
	t.meet(r)
	b, err := readBody(r, maxMessage)
	if err != nil {
		t.warn("failed to read Raft message", "error", err.Error())
		http.Error(w, "error reading raft message", http.StatusBadRequest)
		return
	}
	m, err := parseMessage(b, true)
	if err != nil {
		t.warn("failed to unmarshal Raft message", "error", err.Error())
		http.Error(w, "error unmarshalling raft message", http.StatusBadRequest)
		return
	}
	if p := t.peer(cluster.ID(m.GetFrom())); p != nil {
		p.figures.received(len(b))
	}
	if !travels(m) {
		http.Error(w, "wrong raft message type", http.StatusBadRequest)
		return
	}
	if !t.addressed(w, m) {
		return
	}
	if err := t.cfg.Raft.Process(r.Context(), m); err != nil {
		t.warn("failed to process Raft message", "error", err.Error())
		http.Error(w, "error processing raft message", http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent) // only now: the sender of a snapshot goes by it
}

// readBody reads a whole body into memory that grows as it arrives.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	if r.ContentLength >= 0 {
		return readExactly(r.Body, int(r.ContentLength))
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooLarge
	}
	return b, err
}

func (t *Transport) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodPost) || !t.welcome(w, r) || !acquire(w, t.serving.images) {
		return
	}
	defer func() { <-t.serving.images }()
	t.meet(r)
	f := &frameReader{r: bufio.NewReaderSize(r.Body, readBuffer)}
	m, n, err := f.message(maxSnapshotHead)
	if err != nil {
		t.warn("failed to decode Raft message", "error", err.Error())
		http.Error(w, fmt.Sprintf("failed to decode raft message (%v)", err), http.StatusBadRequest)
		return
	}
	if m.GetType() != raftpb.MsgSnap || m.Snapshot == nil {
		t.warn("unexpected Raft message type", "message-type", m.GetType().String())
		http.Error(w, "wrong raft message type", http.StatusBadRequest)
		return
	}
	if !t.addressed(w, m) {
		return
	}
	from := "unknown"
	var counted *transfers
	if p := t.peer(cluster.ID(m.GetFrom())); p != nil {
		from = p.id.String()
		p.figures.received(n)
	}
	if t.cfg.Metrics != nil {
		counted = &t.cfg.Metrics.receive
	}
	log := t.log.With("remote-snapshot-sender-id", cluster.ID(m.GetFrom()).String(), "incoming-snapshot-index", m.GetSnapshot().GetMetadata().GetIndex())
	log.Info("receiving database snapshot", "incoming-snapshot-message-size-bytes", proto.Size(m))
	began := time.Now()
	done := counted.begun(from)
	image := &countingReader{r: f.r}
	err = t.cfg.Raft.ProcessSnapshot(r.Context(), m, image)
	took := time.Since(began)
	done(took.Seconds(), err)
	if p := t.peer(cluster.ID(m.GetFrom())); p != nil {
		p.figures.received(int(image.n))
	}
	if err != nil {
		log.Warn("failed to keep an incoming database snapshot", "error", err.Error())
		http.Error(w, fmt.Sprintf("failed to process raft message (%v)", err), http.StatusInternalServerError)
		return
	}
	log.Info("received and saved database snapshot", "incoming-snapshot-size-bytes", image.n, "download-took", took.String())
	w.WriteHeader(http.StatusNoContent)
}

func (t *Transport) serveStream(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	// Also in front of errors: a member that dials looks at the version before the status.
	w.Header()[headVersion] = []string{t.cfg.Version}
	if !t.welcome(w, r) {
		return
	}
	name, who, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, pathStream), "/")
	kind := streamApp
	switch name {
	case streamApp.name():
	case streamMessage.name():
		kind = streamMessage
	default:
		http.Error(w, "invalid path", http.StatusNotFound)
		return
	}
	from, err := parseID(who)
	if err != nil {
		http.Error(w, "invalid from", http.StatusNotFound)
		return
	}
	if t.cfg.Raft.Removed(from) {
		t.warn("rejected stream from remote peer because it was removed", "remote-peer-id-from", from.String())
		http.Error(w, "removed member", http.StatusGone)
		return
	}
	p := t.peer(from)
	if p == nil || p.temporary {
		t.remember(from, strings.SplitN(r.Header.Get(headPeerURLs), ",", maxURLs+1))
		t.log.Debug("failed to find remote peer in cluster", "remote-peer-id-from", from.String())
		http.Error(w, "error sender not found", http.StatusNotFound)
		return
	}
	if to := r.Header.Get(headTo); to != t.me.id.String() {
		t.warn("ignored streaming request; ID mismatch", "remote-peer-id-header", to, "remote-peer-id-from", from.String())
		http.Error(w, "to field mismatch", http.StatusPreconditionFailed)
		return
	}
	if !r.ProtoAtLeast(1, 1) { // it would not understand chunks
		http.Error(w, "streams are served over HTTP/1.1 only", http.StatusHTTPVersionNotSupported)
		return
	}
	t.attach(w, p, kind)
}

// attach takes the connection over and writes to it until it ends.
func (t *Transport) attach(w http.ResponseWriter, p *peer, kind streamKind) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, which members do not speak to each other
		http.Error(w, "streams are served over HTTP/1.1 only", http.StatusHTTPVersionNotSupported)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	l := newLink(p, kind, conn)
	watched := make(chan struct{})
	defer func() { <-watched }()
	go func() {
		defer close(watched)
		l.watch()
	}()
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\n%s: %s\r\n%s: %s\r\nDate: %s\r\nTransfer-Encoding: chunked\r\n\r\n", headCluster, t.me.cluster,
		headVersion, t.cfg.Version, time.Now().UTC().Format(http.TimeFormat))
	err = l.extend()
	if err == nil {
		_, err = conn.Write([]byte(head))
	}
	if err != nil {
		_ = conn.Close()
		return
	}
	slot := p.slot(kind)
	old := slot.Swap(l)
	if p.ctx.Err() != nil {
		l.close() // let go while it was attached
	} else {
		p.activated()
		p.log.Info("established TCP streaming connection with remote peer", "stream-writer-type", kind.String())
	}
	if old != nil {
		old.close()
		p.log.Warn("closed TCP streaming connection with remote peer", "stream-writer-type", kind.String())
	}
	l.run()
}

// timedBody is a request's body that fails when it has waited too long for a byte.
type timedBody struct {
	r       io.ReadCloser
	way     *http.ResponseController
	timeout time.Duration
	ctx     context.Context
	set     time.Time
}

func (b *timedBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) > b.timeout/5 {
		b.set = now
		_ = b.way.SetReadDeadline(now.Add(b.timeout)) // not every server can
		if b.ctx.Err() != nil {
			b.interrupt() // which might have come before
		}
	}
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() != nil {
		err = b.ctx.Err()
	}
	return n, err
}

func (b *timedBody) Close() error { return b.r.Close() }

func (b *timedBody) interrupt() { _ = b.way.SetReadDeadline(time.Unix(1, 0)) }

// countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
