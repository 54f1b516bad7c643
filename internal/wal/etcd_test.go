package wal

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// The fixture is the log of an etcd 3.4 member with 33 puts, deletes and
// grants, cut off some bytes behind its last record.
func TestLogWrittenByEtcd(t *testing.T) {
	data, err := os.ReadFile("testdata/etcd-3.4/0000000000000000-0000000000000000.wal")
	require.NoError(t, err)
	fs := place(t, data)
	rep, err := Verify(fs, "/m/wal")
	require.NoError(t, err)
	require.Nil(t, rep.Torn)
	require.Equal(t, Metadata{NodeID: 2923041152269285496, ClusterID: 3412286126431335378}, rep.Metadata)
	require.EqualValues(t, 1, rep.First)
	require.EqualValues(t, 37, rep.Last)

	l, rec, err := Open(fs, "/m/wal", Options{})
	require.NoError(t, err)
	require.EqualValues(t, 0x15, rec.Start.Index)
	require.EqualValues(t, 2, rec.Start.Term)
	require.Nil(t, rec.Start.ConfState, "3.4 writes none")
	require.Len(t, rec.Entries, 37-0x15)
	require.EqualValues(t, 2, rec.HardState.GetTerm())
	require.EqualValues(t, 2923041152269285496, rec.HardState.GetVote())
	require.GreaterOrEqual(t, rec.HardState.GetCommit(), uint64(36))
	require.NoError(t, l.Append(nil, run(2, 38, 38), true))
	require.NoError(t, l.Close())
}

// What etcd wrote, written by us and read back, is the same.
func TestEntriesOfEtcdSurviveOurEncoder(t *testing.T) {
	data, err := os.ReadFile("testdata/etcd-3.4/0000000000000000-0000000000000000.wal")
	require.NoError(t, err)
	var want []*raftpb.Entry
	require.NoError(t, Read(place(t, data), "/m/wal", func(r *Record) error {
		if r.Type != TypeEntry {
			return nil
		}
		var e raftpb.Entry
		if err := proto.Unmarshal(r.Data, &e); err != nil {
			return err
		}
		want = append(want, &e)
		return nil
	}))
	require.Len(t, want, 37)
	require.Equal(t, raftpb.EntryConfChange, want[0].GetType())
	fs := newFS(t)
	l := mustCreate(t, fs, Options{SegmentSize: 1 << 20})
	require.NoError(t, l.Append(hard(2, 1, 37), want, true))
	require.NoError(t, l.Close())
	l, rec := mustOpen(t, fs, Options{SegmentSize: 1 << 20})
	require.NoError(t, l.Close())
	require.Len(t, rec.Entries, len(want))
	for i, e := range rec.Entries {
		require.Equal(t, want[i].GetType(), e.GetType())
		require.Equal(t, want[i].GetTerm(), e.GetTerm())
		require.Equal(t, want[i].GetIndex(), e.GetIndex())
		require.Equal(t, string(want[i].GetData()), string(e.GetData()))
	}
}

// Tools may look at a log in use.
func TestVerifyBesideAnOpenLog(t *testing.T) {
	fs := newFS(t)
	l := mustCreate(t, fs, Options{SegmentSize: 4096})
	defer l.Close()
	require.NoError(t, l.Append(hard(1, 1, 2), run(1, 1, 3), true))
	rep, err := Verify(fs, "/m/wal")
	require.NoError(t, err)
	require.EqualValues(t, 3, rep.Last)
	_, err = Verify(fs, "/m/none")
	require.ErrorIs(t, err, ErrNotFound)
}
