package peer

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func unhex(tb testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	require.NoError(tb, err)
	return b
}

func newTestWriter(kind streamKind) *frameWriter {
	w := &frameWriter{kind: kind, self: 1, other: 2}
	w.page.reset()
	return w
}

// frames is what was written so far.
func (w *frameWriter) frames() []byte {
	p := page{b: append([]byte(nil), w.page.b...), refs: w.page.refs, refBytes: w.page.refBytes}
	chunk := bytes.Join(p.chunk(), nil)
	return chunk[chunkHead : len(chunk)-2]
}

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Term: new(term), Index: new(index), Data: []byte(data)}
}

// TestFrames holds the frames against the bytes of operations.md sections 8.3 and 8.4.
func TestFrames(t *testing.T) {
	app := func(logTerm, index, term, commit uint64, entries ...*raftpb.Entry) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(term),
			LogTerm: new(logTerm), Index: new(index), Commit: new(commit), Entries: entries}
	}
	t.Run("msgapp", func(t *testing.T) {
		w := newTestWriter(streamApp)
		var all []byte
		var msgs []*raftpb.Message
		for _, c := range []struct {
			name string
			m    *raftpb.Message // nil for a heartbeat
			want string
		}{
			{"heartbeat", nil, "00"},
			{"the first message is sent in full", app(5, 9, 5, 9, entry(10, 5, "a")),
				"02 0000000000000017 0803 1002 1801 2005 2805 3009 3a07 1005 180a 220161 4009"},
			{"the next one continues it", app(5, 10, 5, 11, entry(11, 5, "bc"), entry(12, 5, "")),
				"01 0000000000000002 0000000000000008 1005 180b 22026263 0000000000000006 1005 180c 2200 000000000000000b"},
			{"a commit index alone", app(5, 12, 5, 12), "01 0000000000000000 000000000000000c"},
			{"a gap", app(5, 20, 5, 12), "02 000000000000000e 0803 1002 1801 2005 2805 3014 400c"},
			{"a new term", app(5, 20, 6, 12), "02 000000000000000e 0803 1002 1801 2006 2805 3014 400c"},
			{"the index goes on from the message's own", app(6, 20, 6, 300), "01 0000000000000000 000000000000012c"},
			{"passed on for another member", &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), From: new(uint64(3)), Term: new(uint64(6)),
				LogTerm: new(uint64(6)), Index: new(uint64(20))}, "02 000000000000000c 0803 1002 1803 2006 2806 3014"},
		} {
			t.Run(c.name, func(t *testing.T) {
				before := len(w.frames())
				if c.m == nil {
					w.heartbeat()
				} else {
					require.NoError(t, w.message(c.m))
				}
				all = w.frames()
				require.Equal(t, unhex(t, c.want), all[before:])
				msgs = append(msgs, c.m)
			})
		}
		requireMessages(t, streamApp, all, msgs)
	})
	t.Run("message", func(t *testing.T) {
		w := newTestWriter(streamMessage)
		vote := &raftpb.Message{Type: raftpb.MsgVoteResp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(0)), Reject: new(true)}
		beat := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(3)),
			Commit: new(uint64(200)), Context: []byte("12345678")}
		w.heartbeat()
		require.NoError(t, w.message(vote))
		require.NoError(t, w.message(beat))
		require.Equal(t, unhex(t, "0000000000000002 0808"+
			"000000000000000a 0806 1002 1801 2000 5001"+
			"0000000000000015 0808 1002 1801 2003 40c801 6208 3132333435363738"), w.frames())
		requireMessages(t, streamMessage, w.frames(), []*raftpb.Message{nil, vote, beat})
	})
}

// requireMessages reads frames, in one piece and in small ones. A heartbeat is nil.
func requireMessages(t *testing.T, kind streamKind, b []byte, want []*raftpb.Message) {
	t.Helper()
	for name, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "bytes": iotest.OneByteReader} {
		f := newFrameReader(kind, wrap(bytes.NewReader(b)), 2, 1)
		var got []*raftpb.Message
		size := 0
		for {
			m, n, err := f.next()
			if err != nil {
				require.ErrorIs(t, err, io.EOF, name)
				break
			}
			size += n
			got = append(got, m)
		}
		require.Len(t, got, len(want), name)
		require.Equal(t, len(b), size, name)
		for i := range want {
			if want[i] == nil {
				require.Nil(t, got[i])
				continue
			}
			require.True(t, proto.Equal(want[i], got[i]), "%s: message %d:\n%v\n%v", name, i, want[i], got[i])
		}
	}
}

// TestChunk looks at what surrounds frames on the wire.
func TestChunk(t *testing.T) {
	w := newTestWriter(streamApp)
	w.heartbeat()
	require.Equal(t, "00000001\r\n\x00\r\n", string(bytes.Join(w.page.chunk(), nil)))
	w.page.reset()
	big := bytes.Repeat([]byte{'x'}, byReference)
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), Entries: []*raftpb.Entry{{Data: big}, {Data: []byte("small")}, {Data: big}}}
	require.NoError(t, w.message(m))
	chunk := w.page.chunk()
	require.Len(t, chunk, 5)
	require.Same(t, &big[0], &chunk[1][0], "data of this size is not copied")
	whole := bytes.Join(chunk, nil)
	require.Equal(t, fmt.Sprintf("%08x\r\n", len(whole)-chunkHead-2), string(whole[:chunkHead]))
	requireMessages(t, streamApp, whole[chunkHead:len(whole)-2], []*raftpb.Message{m})
	w.page.b = make([]byte, keepPage+1)
	w.page.reset()
	require.LessOrEqual(t, cap(w.page.b), keepPage)
}

// maybe leaves a field out, or sets it, often to zero.
func maybe(rng *rand.Rand) *uint64 {
	switch rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return new(uint64)
	default:
		v := rng.Uint64() >> rng.IntN(64)
		return &v
	}
}

func randomEntry(rng *rand.Rand, maxData int) *raftpb.Entry {
	e := &raftpb.Entry{Term: maybe(rng), Index: maybe(rng)}
	if rng.IntN(3) == 0 {
		e.Type = raftpb.EntryType(rng.IntN(3)).Enum()
	}
	if rng.IntN(4) > 0 {
		e.Data = bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(maxData))
	}
	return e
}

func randomMessage(rng *rand.Rand, maxData int) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MessageType(rng.IntN(24)).Enum(), To: maybe(rng), From: maybe(rng), Term: maybe(rng), LogTerm: maybe(rng),
		Index: maybe(rng), Commit: maybe(rng), RejectHint: maybe(rng), Vote: maybe(rng)}
	if rng.IntN(2) == 0 {
		m.Reject = new(rng.IntN(2) == 0)
	}
	if rng.IntN(2) == 0 {
		m.Context = make([]byte, rng.IntN(20))
	}
	for range rng.IntN(5) {
		m.Entries = append(m.Entries, randomEntry(rng, maxData))
	}
	switch rng.IntN(20) {
	case 0:
		m.Snapshot = &raftpb.Snapshot{Data: []byte("state"), Metadata: &raftpb.SnapshotMetadata{Index: maybe(rng)}}
	case 1:
		m.Responses = []*raftpb.Message{{To: maybe(rng)}}
	}
	return m
}

// TestEncodeAsProtobuf holds the encoders and decoders by hand against the generated code.
func TestEncodeAsProtobuf(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		m := randomMessage(rng, 400)
		want, err := proto.Marshal(m)
		require.NoError(t, err)
		require.Equal(t, len(want), messageSize(m))
		var p page
		p.reset()
		require.NoError(t, p.message(m))
		require.Equal(t, want, p.b[chunkHead:], "%v", m)
		for _, shared := range []bool{false, true} {
			got, err := parseMessage(want, shared)
			require.NoError(t, err)
			require.True(t, proto.Equal(m, got), "\n%v\n%v", m, got)
		}
		for _, e := range m.Entries {
			require.Equal(t, proto.Size(e), entrySize(e))
		}
	}
}

// TestRandomStreams reads what was written, with entries around the sizes at which memory is handled differently.
func TestRandomStreams(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 30 {
		var msgs []*raftpb.Message
		w := newTestWriter(streamApp)
		index := uint64(7)
		for range 1 + rng.IntN(20) {
			m := appMessages(1, 2, 1, rng.IntN(8), 0)[0]
			if rng.IntN(4) > 0 {
				m.Index = new(index)
			}
			next := m.GetIndex()
			for _, e := range m.Entries {
				next++
				e.Index = new(next)
				sizes := []int{0, 1, 300, byReference - 1, byReference, peekable - 20, peekable, peekable + 1, readBuffer, 3 * readBuffer}
				e.Data = make([]byte, sizes[rng.IntN(len(sizes))])
				for i := range e.Data {
					e.Data[i] = byte(next) + byte(i)
				}
			}
			index = next
			require.NoError(t, w.message(m))
			msgs = append(msgs, m)
		}
		b := w.frames()
		f := newFrameReader(streamApp, iotest.HalfReader(bytes.NewReader(b)), 2, 1)
		var got []*raftpb.Message
		for range msgs {
			m, _, err := f.next()
			require.NoError(t, err)
			got = append(got, m) // compared later: nothing may lie in memory that is used again
		}
		for i := range msgs {
			require.True(t, proto.Equal(msgs[i], got[i]), "round %d message %d", round, i)
		}
	}
}

// TestOldDialect reads what etcd 3.5 sends: every field is there, also an empty snapshot.
func TestOldDialect(t *testing.T) {
	body := unhex(t, "0804 1002 1801 2007 2800 3009 4000 4a0a 1208 0a022800 1000 1800 5000 5800 6800")
	m, err := parseMessage(body, false)
	require.NoError(t, err)
	require.Equal(t, raftpb.MsgAppResp, m.GetType())
	require.Equal(t, uint64(9), m.GetIndex())
	require.NotNil(t, m.Snapshot)
	// A link heartbeat with all its zeros, and an entry with a type of zero.
	b := append([]byte{0, 0, 0, 0, 0, 0, 0, 14}, unhex(t, "0808 1000 1800 2000 2800 3000 4000")...)
	f := newFrameReader(streamMessage, bytes.NewReader(b), 2, 1)
	m, _, err = f.next()
	require.NoError(t, err)
	require.Nil(t, m)
	var s entrySlot
	require.NoError(t, new(entryParser).parse(&s, unhex(t, "0800 1005 180a 220161")))
	require.Equal(t, raftpb.EntryNormal, s.entry.GetType())
	require.Equal(t, "a", string(s.entry.Data))
}

// TestBadFrames looks at input that no member sends.
func TestBadFrames(t *testing.T) {
	for _, c := range []struct {
		name, in string
		kind     streamKind
		want     string
	}{
		{"unknown type", "03", streamApp, "unknown type"},
		{"too many entries", "01 ffffffffffffffff", streamApp, "exceeds"},
		{"a large entry", "01 0000000000000001 7fffffffffffffff", streamApp, "exceeds"},
		{"a large message", "02 0000000020000001", streamApp, "exceeds"},
		{"a large message", "0000000020000001", streamMessage, "exceeds"},
		{"length without bytes", "0000000020000000 00", streamMessage, "unexpected EOF"},
		{"no message", "0000000000000002 ffff", streamMessage, "malformed"},
		{"no entry", "01 0000000000000001 0000000000000002 ffff", streamApp, "malformed"},
		{"no entry in a message", "02 0000000000000004 3a02 ffff", streamApp, "malformed"},
		{"an entry longer than its message", "02 0000000000000003 3a05 ff", streamApp, "malformed"},
		{"end in a length", "02 00000000", streamApp, "unexpected EOF"},
		{"end in an entry", "01 0000000000000001 0000000000000005 10", streamApp, "unexpected EOF"},
		{"end before the commit index", "01 0000000000000000", streamApp, "unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := newFrameReader(c.kind, bytes.NewReader(unhex(t, c.in)), 2, 1).next()
			require.ErrorContains(t, err, c.want)
		})
	}
	// A stream may end between frames only.
	w := newTestWriter(streamApp)
	for _, m := range appMessages(1, 2, 3, 2, 10) {
		require.NoError(t, w.message(m))
	}
	b := w.frames()
	clean := 0
	for n := range b {
		f := newFrameReader(streamApp, bytes.NewReader(b[:n]), 2, 1)
		var err error
		for err == nil {
			_, _, err = f.next()
		}
		if err == io.EOF {
			clean++
		} else {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
	require.Equal(t, 3, clean)
}

// TestAllocations keeps the cost of receiving from creeping up: it does not depend on the number of entries.
func TestAllocations(t *testing.T) {
	w := newTestWriter(streamApp)
	msgs := appMessages(1, 2, 40, 100, 100)
	for _, m := range msgs {
		require.NoError(t, w.message(m))
	}
	f := newFrameReader(streamApp, bytes.NewReader(w.frames()), 2, 1)
	next := func() {
		if _, _, err := f.next(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	// The message, the list of its entries, and twice entries and data: a frame may be split over two fills of the buffer.
	require.LessOrEqual(t, testing.AllocsPerRun(30, next), 6.0)
	var p page
	p.reset()
	require.Zero(t, testing.AllocsPerRun(30, func() {
		p.b = p.b[:chunkHead]
		_ = p.message(msgs[0])
	}))
	resp, err := proto.Marshal(&raftpb.Message{Type: raftpb.MsgAppResp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(3)), Index: new(uint64(9)), Context: []byte("12345678")})
	require.NoError(t, err)
	require.LessOrEqual(t, testing.AllocsPerRun(30, func() { _, _ = parseMessage(resp, false) }), 1.0)
}
