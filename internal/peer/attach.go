package peer

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

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
	p.lacksV2.Store(lacksV2(r.Header))
	p.limits.Store(r.Header.Get(headLimits) != "")
	p.heard.Store(true)
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
	// It is the newest from here on, and the peer is told afterwards: what it dials next is newer.
	old := p.slot(kind).Swap(l)
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
	l.run(fmt.Sprintf("HTTP/1.1 200 OK\r\n%s: %s\r\n%s: %s\r\nDate: %s\r\nTransfer-Encoding: chunked\r\n\r\n", headCluster, t.me.cluster,
		headVersion, t.cfg.Version, time.Now().UTC().Format(http.TimeFormat)))
}
