package wal

import (
	"encoding/hex"
	"hash/crc32"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func TestFirstFramesAreTheDocumentedBytes(t *testing.T) {
	var e encoder
	e.crcRecord()
	require.Equal(t, "0400000000000084"+"08041000"+"00000000", hex.EncodeToString(e.buf))

	e = encoder{}
	e.metadata(Metadata{NodeID: 1, ClusterID: 2})
	data := []byte{0x08, 1, 0x10, 2}
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	require.Equal(t, e.crc, sum)
	got := hex.EncodeToString(e.buf)
	require.True(t, strings.HasPrefix(got, "0e00000000000082"+"080110"), got)
	require.True(t, strings.HasSuffix(got, "1a04"+"08011002"+"0000"), got)

	e = encoder{}
	e.mark(Mark{}, nil)
	require.Equal(t, []byte{0x08, 0, 0x10, 0}, decodeAll(t, e.buf)[0].Data, "index and term are there though zero")
}

func TestLengthFields(t *testing.T) {
	for size := range 40 {
		e := encoder{buf: make([]byte, 8+size)}
		e.frame(0)
		require.Zero(t, len(e.buf)%8)
		n, pad, err := parseLength(uint64(e.buf[0]) | uint64(e.buf[7])<<56)
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		require.EqualValues(t, len(e.buf)-8-size, pad)
	}
	e := encoder{buf: make([]byte, 8+10)}
	e.frame(0)
	require.Equal(t, "0a00000000000086", hex.EncodeToString(e.buf[:8]))
	e = encoder{buf: make([]byte, 8+16)}
	e.frame(0)
	require.Equal(t, "1000000000000000", hex.EncodeToString(e.buf[:8]))
	for _, bad := range []uint64{1, 0x80 << 56, 0x81<<56 | 8, 0xff<<56 | 1, 0x01<<56 | 7, math.MaxUint64} {
		_, _, err := parseLength(bad)
		require.Error(t, err, "%x", bad)
	}
}

// decodeAll reads the records of an encoder's buffer.
func decodeAll(t *testing.T, buf []byte) []Record {
	t.Helper()
	var out []Record
	var crc uint32
	for at := 0; at < len(buf); {
		body, next, ok := frameAt(buf, at)
		require.True(t, ok)
		var r Record
		var err error
		crc, err = r.check(body, crc)
		require.NoError(t, err)
		out = append(out, r)
		at = next
	}
	return out
}

func TestRecordsAreWhatProtobufReads(t *testing.T) {
	entries := []*raftpb.Entry{
		entry(1, 1, ""),
		entry(0, 7, "x"),
		entry(math.MaxUint64, math.MaxUint64, strings.Repeat("y", 300)),
		{Type: raftpb.EntryConfChange.Enum(), Term: new(uint64(5)), Index: new(uint64(128)), Data: []byte{0}},
		{Type: raftpb.EntryConfChangeV2.Enum(), Term: new(uint64(5)), Index: new(uint64(129))},
		{Type: raftpb.EntryNormal.Enum(), Term: new(uint64(5)), Index: new(uint64(130))},
	}
	var e encoder
	for i := range 400 { // enough for checksums of every length
		entries = append(entries, entry(uint64(i), uint64(200+i), strings.Repeat("z", i)))
	}
	for _, x := range entries {
		e.entry(x)
	}
	states := []*raftpb.HardState{hard(0, 0, 0), hard(1, 2, 3), hard(math.MaxUint64, 1<<63, 1<<56)}
	for _, s := range states {
		e.state(s)
	}
	marks := []Mark{
		{},
		{Index: 5, Term: 1, ConfState: &raftpb.ConfState{}},
		{Index: 500, Term: 3, ConfState: &raftpb.ConfState{Voters: []uint64{1, math.MaxUint64}, Learners: []uint64{4}, AutoLeave: new(false)}},
	}
	for _, m := range marks {
		conf, err := m.conf()
		require.NoError(t, err)
		e.mark(m, conf)
	}
	e.metadata(testMeta)
	records := decodeAll(t, e.buf)
	require.Len(t, records, len(entries)+len(states)+len(marks)+1)
	for i, want := range entries {
		var byProto raftpb.Entry
		require.NoError(t, proto.Unmarshal(records[i].Data, &byProto))
		own, err := records[i].Entry()
		require.NoError(t, err)
		for _, got := range []*raftpb.Entry{&byProto, own} {
			require.Equal(t, want.GetType(), got.GetType())
			require.Equal(t, want.GetTerm(), got.GetTerm())
			require.Equal(t, want.GetIndex(), got.GetIndex())
			require.Equal(t, string(want.Data), string(got.Data))
		}
	}
	records = records[len(entries):]
	for i, want := range states {
		var byProto raftpb.HardState
		require.NoError(t, proto.Unmarshal(records[i].Data, &byProto))
		require.True(t, proto.Equal(want, &byProto))
		own, err := records[i].State()
		require.NoError(t, err)
		require.True(t, proto.Equal(want, own))
	}
	records = records[len(states):]
	for i, want := range marks {
		got, err := records[i].Mark()
		require.NoError(t, err)
		require.Equal(t, want.Index, got.Index)
		require.Equal(t, want.Term, got.Term)
		require.Equal(t, want.ConfState == nil, got.ConfState == nil)
		require.True(t, proto.Equal(want.ConfState, got.ConfState))
	}
	meta, err := records[len(marks)].Metadata()
	require.NoError(t, err)
	require.Equal(t, testMeta, meta)
}

func TestBothDialectsAreRead(t *testing.T) {
	// As 3.5 writes it: every scalar, in ascending order of fields.
	r := Record{Data: []byte{0x08, 0, 0x10, 3, 0x18, 9, 0x22, 1, 'v'}}
	e, err := r.Entry()
	require.NoError(t, err)
	require.Equal(t, raftpb.EntryNormal, e.GetType())
	require.EqualValues(t, 9, e.GetIndex())
	// With nothing but what is set, in another order.
	r = Record{Data: []byte{0x18, 9, 0x10, 3}}
	e, err = r.Entry()
	require.NoError(t, err)
	require.EqualValues(t, 3, e.GetTerm())
	require.Nil(t, e.Data)
	r = Record{Data: nil}
	s, err := r.State()
	require.NoError(t, err)
	require.Zero(t, s.GetCommit())
}

func TestBrokenRecordsGiveErrors(t *testing.T) {
	cases := map[string][]byte{
		"unknown field":     {0x28, 1},
		"cut tag":           {0x80},
		"cut value":         {0x08, 0x80},
		"long bytes":        {0x22, 5, 'x'},
		"fixed-size field":  {0x09, 1, 2, 3, 4, 5, 6, 7, 8},
		"impossible type":   {0x08, 9, 0x18, 1},
		"overlong integers": {0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	}
	for name, data := range cases {
		r := Record{Data: data}
		_, err := r.Entry()
		require.Error(t, err, name)
	}
	for name, body := range map[string][]byte{
		"no type":    {0x10, 1},
		"type 6":     {0x08, 6, 0x10, 1},
		"large crc":  {0x08, 2, 0x10, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"stray data": {0x08, 2, 0x10, 1, 0x22, 0},
	} {
		require.Error(t, new(Record).parseBody(body), name)
	}
}
