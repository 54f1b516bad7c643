package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

const (
	// imageKept bounds the time from the last byte of an image to the answer: the receiver makes it durable first.
	imageKept = 5 * time.Minute
	// imageBuffer is what an image is written through.
	imageBuffer = 256 << 10
)

var (
	errTooManyImages = errors.New("peer: too many snapshots are being sent")
	errNoPeer        = errors.New("peer: no such peer")
)

// failing is a writer that only fails.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// SendSnapshot sends a MsgSnap and the database image that belongs to it, which image writes. It does so on goroutines
// that Stop waits for. Raft.SnapshotSent is called in the end, or at once if there is no such peer, if it is being sent
// another image, or if 16 images are under way. However that goes, image is called exactly once, so that it can give back
// what it holds; it must return when its writer fails. The size, in bytes, is for the log; 0 if it is not known.
func (t *Transport) SendSnapshot(m *raftpb.Message, image func(w io.Writer) error, size int64) {
	to := cluster.ID(m.GetTo())
	p := t.peer(to)
	refuse := func(err error) {
		if f := func() { _ = image(failing{err}) }; !t.spawn(f) {
			f()
		}
		t.cfg.Raft.SnapshotSent(to, err)
	}
	if p == nil || p.cut.Load() {
		refuse(errNoPeer)
		return
	}
	if !p.image.CompareAndSwap(false, true) {
		refuse(errTooManyImages)
		return
	}
	select {
	case t.sending <- struct{}{}:
	default:
		p.image.Store(false)
		refuse(errTooManyImages)
		return
	}
	end := func() {
		<-t.sending
		p.image.Store(false)
	}
	if !t.spawn(func() {
		err := p.sendImage(m, image, size)
		end()
		t.cfg.Raft.SnapshotSent(to, err)
	}) {
		end()
		refuse(errStopped)
	}
}

func (p *peer) sendImage(m *raftpb.Message, image func(w io.Writer) error, size int64) error {
	began := time.Now()
	var counted *transfers
	if p.figures.all != nil {
		counted = &p.figures.all.send
	}
	done := counted.begun(p.id.String())
	log := p.log.With("snapshot-index", m.GetSnapshot().GetMetadata().GetIndex(), "bytes", size)
	log.Info("sending database snapshot")
	n, err := p.postImage(m, image)
	done(time.Since(began).Seconds(), err)
	p.figures.sent(int(n))
	if err == nil {
		p.activated()
		log.Info("sent database snapshot", "took", time.Since(began).String())
		return nil
	}
	log.Warn("failed to send database snapshot", "error", err.Error())
	p.failed("post", "sendMsgSnap", err)
	p.figures.notSent(1)
	return err
}

func (p *peer) postImage(m *raftpb.Message, image func(w io.Writer) error) (int64, error) {
	head, err := proto.Marshal(m)
	if err != nil {
		_ = image(failing{err})
		return 0, err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	pr, pw := io.Pipe()
	written := &counter{w: pw}
	failed := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(written, imageBuffer)
		_, _ = w.Write(append(binary.BigEndian.AppendUint64(nil, uint64(len(head))), head...)) // w remembers its errors
		err := image(w)
		if err == nil {
			err = w.Flush()
		}
		// With an error, the peer sees the body break off rather than end.
		_ = pw.CloseWithError(err)
		failed <- err
	}()
	err = p.post(ctx, p.t.images, pathSnapshot, "application/octet-stream", pr)
	_ = pr.CloseWithError(errors.New("peer: the snapshot is not wanted any more"))
	if bad := <-failed; err == nil {
		err = bad
	} else if bad != nil && !errors.Is(bad, io.ErrClosedPipe) {
		err = errors.Join(err, bad)
	}
	return written.n, err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
