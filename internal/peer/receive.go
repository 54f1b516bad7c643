package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

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
	if isAppend(m) {
		t.received.add(1, len(b), time.Now())
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
