package peer

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// streamKind is what a stream carries.
type streamKind uint8

const (
	streamApp     streamKind = iota // log entries
	streamMessage                   // everything else, and log entries while there is no other stream
)

func (k streamKind) String() string {
	if k == streamApp {
		return "stream MsgApp v2"
	}
	return "stream Message"
}

// name is the kind in a path.
func (k streamKind) name() string {
	if k == streamApp {
		return "msgapp"
	}
	return "message"
}

func (p *peer) slot(k streamKind) *atomic.Pointer[link] {
	if k == streamApp {
		return &p.app
	}
	return &p.message
}

const (
	// maxQueued and maxQueuedBytes bound what waits for one stream. A message more is dropped, which raft hears of. The
	// entries are shared with raft's log; they count because a slow peer may keep them alive.
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20
	// flushAt is how much is encoded before it is written, in bytes.
	flushAt = 256 << 10
	// farewell bounds the time for writing the regular end of a stream.
	farewell = 200 * time.Millisecond
)

// link is one stream that a peer has opened, to be written to. The connection is taken away from net/http: one buffer,
// with the chunk's head in its place, goes out in one write, where net/http's writer would copy it twice and write a
// large one in three pieces.
//
// The goroutine that answered the peer's request writes, another one waits for the peer to close the connection. Both end
// with it, and it is closed when the peer goes, when a newer stream takes its place, or when a write fails. Sending small
// messages from within Send, without waking the writer, was measured and is no gain: what gathers while the writer is
// woken goes out in one write.
type link struct {
	p    *peer
	kind streamKind
	conn net.Conn
	w    frameWriter // the writing goroutine's

	wake chan struct{} // holds a token for a writer that sleeps
	done chan struct{} // closed with closed

	mu       sync.Mutex
	queue    []*raftpb.Message
	bytes    int
	asleep   bool // the writer waits for a token
	closed   bool
	deadline time.Time // when the write deadline was set
	told     time.Time // when the last dropped message was logged
}

func newLink(p *peer, kind streamKind, conn net.Conn) *link {
	l := &link{p: p, kind: kind, conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{}),
		w: frameWriter{kind: kind, self: p.t.cfg.ID, other: p.id}}
	l.w.page.reset()
	return l
}

// weight is about what a message takes in memory, in bytes.
func weight(m *raftpb.Message) int {
	n := 0
	for _, e := range m.Entries {
		n += len(e.Data)
	}
	return n
}

// push queues a message, false if the stream has ended. The writer sleeps on until poke.
func (l *link) push(m *raftpb.Message) bool {
	size := weight(m)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	if n := len(l.queue); n < maxQueued && (n == 0 || l.bytes+size <= maxQueuedBytes) {
		l.queue = append(l.queue, m)
		l.bytes += size
		l.mu.Unlock()
		return true
	}
	now := time.Now()
	tell := now.Sub(l.told) > time.Second
	if tell {
		l.told = now
	}
	l.mu.Unlock()
	if tell {
		l.p.log.Warn("dropped internal Raft message since sending buffer is full", "message-type", m.GetType().String(), "stream", l.kind.String())
	}
	if isAppend(m) {
		l.p.pace.failed(1)
	}
	l.p.dropped(1)
	return true
}

// poke wakes the writer.
func (l *link) poke() {
	l.mu.Lock()
	asleep := l.asleep
	l.asleep = false
	l.mu.Unlock()
	if asleep {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// take moves the queue into spare's place, or marks the writer as asleep.
func (l *link) take(spare []*raftpb.Message) []*raftpb.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.asleep = true
		return spare[:0]
	}
	got := l.queue
	l.queue, l.bytes = spare[:0], 0
	return got
}

// close ends the stream. It does not wait for the writer, which says farewell to the peer.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.done)
	_ = l.conn.SetWriteDeadline(time.Now().Add(farewell))
}

// run writes the head of the answer, and then messages, until the stream ends. It then closes the connection.
func (l *link) run(head string) {
	timeout := l.p.t.cfg.ReadTimeout
	// A stream that was idle for a whole tick gets a heartbeat, so the peer hears something every third of its timeout.
	tick := time.NewTicker(timeout / 6)
	defer tick.Stop()
	var batch []*raftpb.Message
	err := l.extend()
	if err == nil {
		_, err = l.conn.Write([]byte(head))
	}
	if err != nil {
		_ = l.conn.Close() // without a farewell to whom was not greeted
	}
	for idle := false; err == nil; {
		batch = l.take(batch)
		if len(batch) > 0 {
			idle = false
			err = l.write(batch)
			continue
		}
		select {
		case <-l.wake:
			continue
		case <-tick.C:
			if idle {
				l.w.heartbeat()
				err = l.flush()
			}
			idle = true
			continue
		case <-l.done:
		}
		break
	}
	l.end(err)
}

func (l *link) write(batch []*raftpb.Message) error {
	defer clear(batch)
	appends, bytes, began := 0, 0, time.Now()
	err := func() error {
		for _, m := range batch {
			before := l.w.page.size()
			if err := l.w.message(m); err != nil {
				return err
			}
			if isAppend(m) {
				appends++
				bytes += l.w.page.size() - before
			}
			if l.w.page.size() >= flushAt {
				if err := l.flush(); err != nil {
					return err
				}
			}
		}
		return l.flush()
	}()
	l.p.appended(appends, bytes, began, err)
	return err
}

// flush writes the page as one chunk.
func (l *link) flush() error {
	p := &l.w.page
	size := p.size()
	if size == 0 {
		return nil
	}
	if err := l.extend(); err != nil {
		return err
	}
	var err error
	if chunk := p.chunk(); len(chunk) == 1 {
		_, err = l.conn.Write(chunk[0])
	} else {
		_, err = chunk.WriteTo(l.conn)
	}
	p.reset()
	if err == nil {
		l.p.figures.sent(size)
	}
	return err
}

// extend moves the write deadline on, once in a fifth of the time, as timedConn does.
func (l *link) extend() error {
	timeout := l.p.t.cfg.WriteTimeout
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	if now.Sub(l.deadline) < timeout/5 {
		return nil
	}
	l.deadline = now
	return l.conn.SetWriteDeadline(now.Add(timeout))
}

// end closes the connection after the writer has ended, with the error of a write or because of close.
func (l *link) end(err error) {
	l.p.slot(l.kind).CompareAndSwap(l, nil)
	l.close()
	if err == nil || errors.Is(err, net.ErrClosed) {
		_, _ = l.conn.Write([]byte("0\r\n\r\n")) // the regular end of the answer
	} else {
		l.p.failed("write", l.kind.String(), err)
	}
	_ = l.conn.Close()
	l.mu.Lock()
	left := len(l.queue)
	l.queue = nil
	l.mu.Unlock()
	if left > 0 || err != nil {
		l.p.dropped(max(left, 1))
	}
}

// watch waits until the peer closes the connection: it has nothing else to say on it.
func (l *link) watch() {
	var b [64]byte
	for {
		if _, err := l.conn.Read(b[:]); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() && l.p.ctx.Err() == nil {
				_ = l.conn.SetReadDeadline(time.Time{}) // a listener's timeout for reading does not concern us
				continue
			}
			l.close()
			return
		}
	}
}
