package wal

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/test/fuzz"
)

// FuzzOpen opens any bytes as a segment: it gives an error or a log that opens
// again with the same content.
func FuzzOpen(f *testing.F) {
	var e encoder
	e.crcRecord()
	e.metadata(testMeta)
	e.mark(Mark{}, nil)
	head := len(e.buf)
	for _, x := range run(1, 1, 4) {
		e.entry(x)
	}
	e.state(hard(1, 1, 3))
	f.Add(e.buf)
	f.Add(e.buf[:head])
	f.Add(e.buf[:len(e.buf)-20])
	f.Add(append(append([]byte{}, e.buf...), make([]byte, 600)...))
	f.Add([]byte{})
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, data []byte) {
		defer fuzz.Frugal(t, 32<<20)()
		fs := place(t, data)
		rep, verifyErr := Verify(fs, "/m/wal")
		l, rec, err := Open(fs, "/m/wal", Options{SegmentSize: 4096})
		if err != nil {
			return
		}
		if verifyErr == nil && rep.Torn == nil {
			require.Nil(t, rec.Repaired)
		}
		require.NoError(t, l.Close())
		l, again, err := Open(fs, "/m/wal", Options{SegmentSize: 4096})
		require.NoError(t, err)
		require.Nil(t, again.Repaired)
		require.Equal(t, rec.Metadata, again.Metadata)
		require.Len(t, again.Entries, len(rec.Entries))
		for i := range rec.Entries {
			require.True(t, proto.Equal(rec.Entries[i], again.Entries[i]))
		}
		require.NoError(t, l.Close())
	})
}

// FuzzRecord holds the decoders against protobuf's own: what they accept must
// mean the same.
func FuzzRecord(f *testing.F) {
	for _, seed := range [][]byte{{}, {0x08, 1, 0x10, 2, 0x18, 3, 0x22, 1, 'x'}, {0x18, 0x80, 1}, {0x1a, 2, 0x08, 1}} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := Record{Data: data}
		if e, err := r.Entry(); err == nil {
			var want raftpb.Entry
			require.NoError(t, proto.Unmarshal(data, &want))
			require.Equal(t, want.GetType(), e.GetType())
			require.Equal(t, want.GetTerm(), e.GetTerm())
			require.Equal(t, want.GetIndex(), e.GetIndex())
			require.Equal(t, string(want.Data), string(e.Data))
			index, term, err := r.entryIndex()
			if err == nil {
				require.Equal(t, e.GetIndex(), index)
				require.Equal(t, e.GetTerm(), term)
			}
		}
		if s, err := r.State(); err == nil {
			var want raftpb.HardState
			require.NoError(t, proto.Unmarshal(data, &want))
			require.Equal(t, want.GetCommit(), s.GetCommit())
			require.Equal(t, want.GetVote(), s.GetVote())
		}
		_, _ = r.Mark()
		_, _ = r.Metadata()
		_ = r.parseBody(data)
	})
}
