package v2http

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Log is what /v2/keys needs of the member beside its state.
type Log interface {
	// Propose puts a command into the log and waits for its effect.
	Propose(ctx context.Context, kind wire.Kind, body []byte) (machine.Result, error)
	Paths() *watch.Paths
	// Term is the present one.
	Term() uint64
}

// Keys serves /v2/keys.
type Keys struct {
	Backend
	log  Log
	auth *Auth
	now  func() time.Time
	id   string // of the cluster

	reads   readCounts
	metrics *keyMetrics
	recent  [recentEvents]atomic.Pointer[encodedEvent]
}

// recentEvents is how many encoded events are kept for those who wait for the same ones.
const recentEvents = 64

type encodedEvent struct {
	event *tree.Event
	json  []byte
}

// event encodes an event for one who waits. What many are told is encoded once, unless times to live run down in it, because
// nobody knows when it was.
func (k *Keys) event(e *tree.Event) []byte {
	if e.Time == 0 && (e.Node.Expires != 0 || e.Prev != nil && e.Prev.Expires != 0) {
		return appendEvent(nil, e, k.now().UnixNano())
	}
	slot := &k.recent[e.Index%recentEvents]
	if x := slot.Load(); x != nil && x.event == e {
		return x.json
	}
	x := &encodedEvent{e, appendEvent(nil, e, 0)}
	slot.Store(x)
	return x.json
}

// NewKeys makes the handler.
func NewKeys(b Backend, l Log, a *Auth, clusterID string) *Keys {
	return &Keys{Backend: b, log: l, auth: a, now: time.Now, id: clusterID, metrics: newKeyMetrics()}
}

// treePrefix is where the log has the nodes of users.
const treePrefix = "/1"

func (k *Keys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodHead, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete) {
		return
	}
	w.Header().Set("X-Etcd-Cluster-Id", k.id)
	q, err := parseKeyRequest(r, k.now)
	if err != nil {
		keyError(w, err)
		return
	}
	if rec := recordOf(w); rec != nil {
		rec.Recursive = q.recursive
	}
	if err := k.auth.mayAccess(r, q.asSent, q.recursive); err != nil {
		keyError(w, err)
		return
	}
	q.quorum = q.quorum && r.Method == http.MethodGet
	if q.wait && !q.quorum { // else wait is passed over (K-41)
		k.watch(w, r, q)
		return
	}
	end := k.metrics.begun(r.Method, q.quorum)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		err = k.get(w, r, q)
	} else {
		err = k.change(w, r, q)
	}
	if end(err); err != nil {
		keyError(w, err)
	}
}

// head sets the headers of an answer that went well.
func (k *Keys) head(w http.ResponseWriter, index uint64) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Etcd-Index", strconv.FormatUint(index, 10))
	h.Set("X-Raft-Index", strconv.FormatUint(k.Committed(), 10))
	h.Set("X-Raft-Term", strconv.FormatUint(k.log.Term(), 10))
}

func (k *Keys) get(w http.ResponseWriter, r *http.Request, q *keyRequest) error {
	if q.quorum {
		ctx, cancel := context.WithTimeout(r.Context(), k.RequestTimeout())
		defer cancel()
		if err := k.Read(ctx); err != nil {
			return failure(err)
		}
	}
	v := k.View().Tree
	n, err := v.Get(q.path)
	k.reads.read(q.recursive, err == nil)
	if err != nil {
		return err
	}
	passed := false
	l := listing{v: v, recursive: q.recursive, now: k.now().UnixNano(), pass: func(b []byte) error {
		if !passed {
			passed = true
			k.head(w, v.Index)
		}
		_, err := w.Write(b)
		return err
	}}
	b := l.appendGet(make([]byte, 0, 256), n)
	if l.err != nil {
		return nil // nobody reads on
	}
	if !passed {
		k.head(w, v.Index)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	}
	_, _ = w.Write(b) // net/http leaves the body out of an answer to HEAD
	return nil
}

func (k *Keys) change(w http.ResponseWriter, r *http.Request, q *keyRequest) error {
	c := wire.V2Request{Method: q.method, Path: treePrefix + q.path, Val: q.value, Dir: q.dir, Recursive: q.recursive, PrevValue: q.prevValue,
		PrevIndex: q.prevIndex, PrevExist: q.prevExist, Expiration: q.expires, Refresh: q.refresh, Time: q.at}
	if q.method != http.MethodPut {
		c.PrevExist, c.Refresh = nil, false
	}
	if q.method == http.MethodPost {
		c.PrevValue, c.PrevIndex = "", 0
	}
	if c.PrevExist != nil && !*c.PrevExist {
		c.PrevValue, c.PrevIndex, c.Refresh = "", 0, false
	}
	res, err := k.log.Propose(r.Context(), wire.KindV2, c.Append(make([]byte, 0, 64+len(c.Path)+len(c.Val))))
	if err != nil {
		return failure(err)
	}
	e := res.Event
	k.head(w, e.Index)
	b := make([]byte, 0, 256)
	if q.noValue && e.Action != tree.Delete && e.Action != tree.CompareAndDelete {
		b = append(append(append(b, `{"action":"`...), e.Action.String()...), "\"}\n"...)
	} else {
		b = appendEvent(b, e, k.now().UnixNano())
	}
	if e.Action == tree.Create || e.Action == tree.Set && e.Prev == nil {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = w.Write(b)
	return nil
}

// failure is an error as /v2/keys tells it: of those of the log, only the text.
func failure(err error) error {
	switch {
	case err == wire.ErrStopped:
		return &refusal{codeRaftInternal, "etcdserver: server stopped"}
	case err == context.Canceled:
		return &refusal{codeRaftInternal, "etcdserver: request cancelled"}
	case err == wire.ErrRequestTooLarge: // sending it elsewhere would not help: it is no 300 (E-13)
		return &refusal{codeInvalidForm, "etcdserver: request is too large"}
	case err == context.DeadlineExceeded:
		err = wire.ErrTimeout
	}
	if e, ok := err.(*tree.Error); ok {
		return e
	}
	text := err.Error()
	if i := strings.Index(text, "desc = "); i >= 0 {
		text = text[i+len("desc = "):]
	}
	return &refusal{codeRaftInternal, text}
}

// watch waits for events (v2-http.md section 7). The headers go out at once, so that the client knows from which index on it
// is told.
func (k *Keys) watch(w http.ResponseWriter, r *http.Request, q *keyRequest) {
	k.reads.watches.Add(1)
	if !q.stream && q.waitIndex != 0 {
		v := k.View().Tree
		e, err := v.Search(q.path, q.recursive, q.waitIndex)
		if err != nil {
			keyError(w, err)
			return
		}
		if e != nil { // it has happened already: there is nothing to wait for
			k.head(w, v.Index)
			_, _ = w.Write(k.event(e))
			return
		}
	}
	waiter, index, err := k.log.Paths().Watch(q.path, q.recursive, q.waitIndex)
	if err != nil {
		keyError(w, err)
		return
	}
	defer waiter.Close()
	k.head(w, index)
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	if !soon(r.Context(), waiter.Wake()) {
		if flush.Flush() != nil {
			return
		}
		select {
		case <-waiter.Wake():
		case <-r.Context().Done():
			return
		}
	}
	for {
		events, err := waiter.Take()
		if err != nil {
			return // with nothing more: the client begins anew
		}
		for _, e := range events {
			if _, err := w.Write(k.event(e)); err != nil || !q.stream {
				return
			}
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-waiter.Wake():
		case <-r.Context().Done():
			return
		}
	}
}

// headWithin is how long the head of an answer that waits is held back. A change that comes within it goes out with the head in
// one piece, and nobody has to look whether the client goes away.
const headWithin = 10 * time.Millisecond

// soon reports whether something comes before the head has to go out.
func soon(ctx context.Context, wake <-chan struct{}) bool {
	t := time.NewTimer(headWithin)
	defer t.Stop()
	select {
	case <-wake:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}
