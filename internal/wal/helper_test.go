package wal

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

var testMeta = Metadata{NodeID: 0x1234, ClusterID: 0xabcdef}

func newFS(t *testing.T) *vfs.Memory {
	t.Helper()
	fs := vfs.NewMemory()
	require.NoError(t, fs.MkdirAll("/m", vfs.DirMode))
	require.NoError(t, vfs.SyncDir(fs, "/"))
	return fs
}

func mustCreate(t *testing.T, fs vfs.FS, o Options) *Log {
	t.Helper()
	l, err := Create(fs, "/m/wal", testMeta, o)
	require.NoError(t, err)
	return l
}

func mustOpen(t *testing.T, fs vfs.FS, o Options) (*Log, *Recovered) {
	t.Helper()
	l, rec, err := Open(fs, "/m/wal", o)
	require.NoError(t, err)
	return l, rec
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

func entry(term, index uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Term: &term, Index: &index, Data: []byte(data)}
}

// run makes entries from..to with data that depends on term and index.
func run(term, from, to uint64) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := from; i <= to; i++ {
		out = append(out, entry(term, i, fmt.Sprintf("entry %d of term %d", i, term)))
	}
	return out
}

// show renders entries as "term:from-to" runs, checking their data.
func show(t *testing.T, entries []*raftpb.Entry) string {
	t.Helper()
	out := ""
	for i := 0; i < len(entries); {
		j, term, from := i, entries[i].GetTerm(), entries[i].GetIndex()
		for j < len(entries) && entries[j].GetTerm() == term && entries[j].GetIndex() == from+uint64(j-i) {
			require.Equal(t, fmt.Sprintf("entry %d of term %d", entries[j].GetIndex(), term), string(entries[j].Data))
			j++
		}
		out += fmt.Sprintf("%d:%d-%d ", term, from, from+uint64(j-i)-1)
		i = j
	}
	return out
}
