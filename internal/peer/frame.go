package peer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// The frames of the two kinds of stream, drawn in docs/format/peer.md.

const (
	// maxMessage bounds a message, and all entries of a frame together, in bytes. It is etcd's bound.
	maxMessage = 512 << 20
	// maxSnapshotHead bounds the message in front of a database image. It is etcd's bound.
	maxSnapshotHead = 64 << 20
	// maxFrameEntries bounds the entries of one frame. A leader fills frames up to 1 MiB, so there is room to spare.
	maxFrameEntries = 1 << 20
	// readBuffer is what a stream is read into. A run of frames up to this size costs one read.
	readBuffer = 64 << 10
	// peekable is up to where an element is decoded in the read buffer; larger ones get memory of their own.
	peekable = 32 << 10
	// firstRead bounds the memory that a length field alone can ask for. Beyond it memory grows as bytes arrive.
	firstRead = 4 << 20
)

const (
	frameHeartbeat byte = 0
	frameEntries   byte = 1
	frameMessage   byte = 2
)

var errTooLarge = errors.New("peer: a frame exceeds its limit")

// linkHeartbeat is a message that only shows that the connection lives. Raft sends none without a sender.
func linkHeartbeat(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgHeartbeat && m.GetFrom() == 0 && m.GetTo() == 0
}

// travels reports whether messages of a type go from member to member outside of a snapshot's transfer. The others speak
// to raft with its own member's voice, so what comes from elsewhere must not.
func travels(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgProp, raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
		return true
	}
	return false
}

// frameWriter appends frames to a page. Each connection begins with a new one.
type frameWriter struct {
	kind        streamKind
	page        page
	self, other cluster.ID
	term, index uint64 // of the last entry the receiver of a msgapp stream has seen
}

func (w *frameWriter) heartbeat() {
	if w.kind == streamApp {
		w.page.b = append(w.page.b, frameHeartbeat)
		return
	}
	w.page.uint64(2)
	w.page.field(0x08, uint64(raftpb.MsgHeartbeat))
}

func (w *frameWriter) message(m *raftpb.Message) error {
	p := &w.page
	if w.kind == streamApp {
		if w.follows(m) {
			w.entries(m)
			return nil
		}
		p.b = append(p.b, frameMessage)
		w.term, w.index = m.GetTerm(), m.GetIndex()
		if n := len(m.Entries); n > 0 {
			w.index = m.Entries[n-1].GetIndex()
		}
	}
	p.uint64(uint64(messageSize(m)))
	return p.message(m)
}

// follows reports whether the receiver can tell all of the message from the one before it, but for entries and commit.
func (w *frameWriter) follows(m *raftpb.Message) bool {
	return m.GetIndex() == w.index && m.GetLogTerm() == w.term && m.GetTerm() == w.term && m.Context == nil && !rare(m) &&
		m.GetFrom() == uint64(w.self) && m.GetTo() == uint64(w.other) && m.GetType() == raftpb.MsgApp
}

func (w *frameWriter) entries(m *raftpb.Message) {
	p := &w.page
	p.b = append(p.b, frameEntries)
	p.uint64(uint64(len(m.Entries)))
	for _, e := range m.Entries {
		p.uint64(uint64(entrySize(e)))
		p.entry(e)
	}
	w.index += uint64(len(m.Entries))
	p.uint64(m.GetCommit())
}

// frameReader decodes the frames of one connection.
type frameReader struct {
	kind        streamKind
	r           *bufio.Reader
	self, other cluster.ID
	term, index uint64
	parser      entryParser
}

func newFrameReader(kind streamKind, r io.Reader, self, other cluster.ID) *frameReader {
	return &frameReader{kind: kind, r: bufio.NewReaderSize(r, readBuffer), self: self, other: other}
}

// next returns the next message and the bytes its frame took. A heartbeat of the connection is a nil message.
func (f *frameReader) next() (*raftpb.Message, int, error) {
	if f.kind == streamMessage {
		if _, err := f.r.Peek(1); err != nil {
			return nil, 0, err // perhaps the end, in the right place
		}
		m, n, err := f.message(maxMessage)
		if err == nil && linkHeartbeat(m) {
			m = nil
		}
		return m, n, err
	}
	typ, err := f.r.ReadByte()
	if err != nil {
		return nil, 0, err
	}
	switch typ {
	case frameHeartbeat:
		return nil, 1, nil
	case frameEntries:
		m, n, err := f.entries()
		return m, n + 1, err
	case frameMessage:
		m, n, err := f.message(maxMessage)
		if err != nil {
			return nil, 0, err
		}
		f.term, f.index = m.GetTerm(), m.GetIndex()
		if k := len(m.Entries); k > 0 {
			f.index = m.Entries[k-1].GetIndex()
		}
		return m, n + 1, nil
	}
	return nil, 0, fmt.Errorf("peer: unknown type of frame %#x", typ)
}

// message reads a length and a message.
func (f *frameReader) message(limit uint64) (*raftpb.Message, int, error) {
	size, err := f.uint64()
	if err != nil {
		return nil, 0, err
	}
	if size > limit {
		return nil, 0, errTooLarge
	}
	n := int(size)
	if n > peekable {
		b, err := readExactly(f.r, n)
		if err != nil {
			return nil, 0, err
		}
		m, err := parseMessage(b, true)
		return m, 8 + n, err
	}
	b, err := f.r.Peek(n)
	if err != nil {
		return nil, 0, cut(err)
	}
	m, err := parseMessage(b, false)
	f.skip(n)
	return m, 8 + n, err
}

// entries reads a frame of type 1: the entries that follow the last one seen.
func (f *frameReader) entries() (*raftpb.Message, int, error) {
	count, err := f.uint64()
	if err != nil {
		return nil, 0, err
	}
	if count > maxFrameEntries {
		return nil, 0, errTooLarge
	}
	s := new(messageSlot)
	s.m.Entries = make([]*raftpb.Entry, 0, min(count, readBuffer/8))
	size := 0
	for left := int(count); left > 0; {
		n, bytes, err := f.run(&s.m, left)
		if err != nil {
			return nil, 0, err
		}
		left -= n
		if size += bytes; size > maxMessage {
			return nil, 0, errTooLarge
		}
	}
	commit, err := f.uint64()
	if err != nil {
		return nil, 0, err
	}
	s.typ = raftpb.MsgApp
	s.numbers = [8]uint64{uint64(f.self), uint64(f.other), f.term, f.index, commit}
	s.m.Type = &s.typ
	s.m.To, s.m.From, s.m.Term, s.m.LogTerm = &s.numbers[0], &s.numbers[1], &s.numbers[2], &s.numbers[2]
	s.m.Index, s.m.Commit = &s.numbers[3], &s.numbers[4]
	f.index += count
	return &s.m, size + 16, nil
}

// run reads at least one entry, and up to max of them if they are in the buffer already. It returns how many, and the
// bytes they took.
func (f *frameReader) run(m *raftpb.Message, max int) (count, taken int, err error) {
	head, err := f.r.Peek(8)
	if err != nil {
		return 0, 0, cut(err)
	}
	size := binary.BigEndian.Uint64(head)
	if size > maxMessage {
		return 0, 0, errTooLarge
	}
	if n := int(size); n > peekable {
		f.skip(8)
		b, err := readExactly(f.r, n)
		if err != nil {
			return 0, 0, err
		}
		s := new(entrySlot)
		if err := f.parser.parse(s, b); err != nil {
			return 0, 0, fmt.Errorf("peer: malformed entry: %w", err)
		}
		m.Entries = append(m.Entries, &s.entry)
		return 1, 8 + n, nil
	}
	if _, err := f.r.Peek(8 + int(size)); err != nil {
		return 0, 0, cut(err)
	}
	b, _ := f.r.Peek(f.r.Buffered())
	for count < max && len(b)-taken >= 8 {
		n := binary.BigEndian.Uint64(b[taken:])
		if n > uint64(len(b)-taken-8) {
			break
		}
		taken += 8 + int(n)
		count++
	}
	slots := make([]entrySlot, count)
	for i, at := 0, 0; i < count; i++ {
		n := int(binary.BigEndian.Uint64(b[at:]))
		if err := f.parser.parse(&slots[i], b[at+8:at+8+n]); err != nil {
			return 0, 0, fmt.Errorf("peer: malformed entry: %w", err)
		}
		at += 8 + n
		m.Entries = append(m.Entries, &slots[i].entry)
	}
	own(slots)
	f.skip(taken)
	return count, taken, nil
}

func (f *frameReader) uint64() (uint64, error) {
	b, err := f.r.Peek(8)
	if err != nil {
		return 0, cut(err)
	}
	v := binary.BigEndian.Uint64(b)
	f.skip(8)
	return v, nil
}

// skip passes over bytes that were peeked at.
func (f *frameReader) skip(n int) { _, _ = f.r.Discard(n) }

// cut is the error for an end in the middle of a frame.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readExactly reads n bytes into memory of their own, which grows as they arrive.
func readExactly(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, 0, min(n, firstRead))
	for {
		k, err := io.ReadFull(r, b[len(b):cap(b)])
		b = b[:len(b)+k]
		if len(b) == n {
			return b, nil
		}
		if err != nil {
			return nil, cut(err)
		}
		b = append(make([]byte, 0, min(n, 4*cap(b))), b...)
	}
}
