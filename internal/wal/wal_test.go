package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

var conf = &raftpb.ConfState{Voters: []uint64{1, 2, 3}}

func TestNewLogIsEmpty(t *testing.T) {
	fs := newFS(t)
	require.False(t, Exists(fs, "/m/wal"))
	l := mustCreate(t, fs, Options{SegmentSize: 4096})
	require.True(t, Exists(fs, "/m/wal"))
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	l, rec := mustOpen(t, fs, Options{SegmentSize: 4096})
	defer l.Close()
	require.Equal(t, testMeta, rec.Metadata)
	require.Equal(t, Mark{}, rec.Start)
	require.Empty(t, rec.Entries)
	require.NotNil(t, rec.HardState)
	require.Nil(t, rec.Repaired)
	_, err := Create(fs, "/m/wal", testMeta, Options{})
	require.ErrorIs(t, err, ErrExists)
	_, _, err = Open(fs, "/m/none", Options{})
	require.ErrorIs(t, err, ErrNotFound)
}

func TestWhatWasAppendedComesBack(t *testing.T) {
	cases := []struct {
		name string
		do   func(t *testing.T, l *Log)
		want string
		mark uint64
	}{
		{"entries", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 2, 0), run(1, 1, 3), true))
			require.NoError(t, l.Append(nil, run(1, 4, 4), false))
			require.NoError(t, l.Append(hard(1, 2, 3), nil, false))
			require.NoError(t, l.Sync())
		}, "1:1-4 ", 0},
		{"a new leader's entries replace the tail", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 3), run(1, 1, 9), true))
			require.NoError(t, l.Append(hard(2, 0, 3), run(2, 5, 6), true))
		}, "1:1-4 2:5-6 ", 0},
		{"a mark moves the start", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 8), run(1, 1, 9), true))
			require.NoError(t, l.Mark(Mark{5, 1, conf}))
			require.NoError(t, l.Append(nil, run(1, 10, 11), true))
		}, "1:6-11 ", 5},
		{"a mark above the commit index does not count", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 4), run(1, 1, 9), true))
			require.NoError(t, l.Mark(Mark{3, 1, conf}))
			require.NoError(t, l.Mark(Mark{5, 1, conf}))
		}, "1:4-9 ", 3},
		{"a state from another member begins a new log", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 4), run(1, 1, 9), true))
			require.NoError(t, l.Mark(Mark{50, 3, conf}))
			require.NoError(t, l.Append(hard(3, 0, 51), run(3, 51, 52), true))
		}, "3:51-52 ", 50},
		{"entries left behind a state from another member are not read", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 4), run(1, 1, 9), true))
			require.NoError(t, l.Mark(Mark{6, 3, conf}))
			require.NoError(t, l.Append(hard(3, 0, 6), nil, true))
		}, "", 6},
		{"a state from another member is marked again", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 4), run(1, 1, 9), true))
			require.NoError(t, l.Mark(Mark{50, 3, conf}))
			require.NoError(t, l.Append(hard(3, 0, 50), run(3, 51, 52), true))
			require.NoError(t, l.Mark(Mark{50, 3, conf}))
			require.NoError(t, l.Append(nil, run(3, 53, 53), true))
		}, "3:51-53 ", 50},
		{"entries behind an own mark stay", func(t *testing.T, l *Log) {
			require.NoError(t, l.Append(hard(1, 0, 6), run(1, 1, 9), true))
			require.NoError(t, l.Mark(Mark{6, 1, conf}))
		}, "1:7-9 ", 6},
	}
	for _, c := range cases {
		for _, size := range []int64{64, 4096, 1 << 20} {
			t.Run(fmt.Sprintf("%s in segments of %d", c.name, size), func(t *testing.T) {
				fs := newFS(t)
				l := mustCreate(t, fs, Options{SegmentSize: size})
				c.do(t, l)
				require.NoError(t, l.Close())
				for range 2 { // what was opened once opens again
					l, rec := mustOpen(t, fs, Options{SegmentSize: size})
					require.Equal(t, c.want, show(t, rec.Entries))
					require.Equal(t, c.mark, rec.Start.Index)
					if c.mark > 0 {
						require.Equal(t, conf.Voters, rec.Start.ConfState.Voters)
					}
					require.NoError(t, l.Close())
				}
				_, err := Verify(fs, "/m/wal")
				require.NoError(t, err)
			})
		}
	}
}

// A process that ends without a sync leaves its bytes to the system. The next one takes them for durable.
func TestWhatOpenReturnsIsDurable(t *testing.T) {
	for _, size := range []int64{64, 4096} {
		fs := newFS(t)
		o := Options{SegmentSize: size}
		l := mustCreate(t, fs, o)
		require.NoError(t, l.Append(hard(1, 2, 0), run(1, 1, 3), false))
		require.NoError(t, l.Append(hard(3, 4, 0), run(3, 4, 4), false))
		require.NoError(t, l.Close())
		l, rec := mustOpen(t, fs, o)
		require.NoError(t, l.Close())
		fs = fs.Crash(1, vfs.Loss{})
		l, again := mustOpen(t, fs, o)
		require.Equal(t, show(t, rec.Entries), show(t, again.Entries))
		require.Equal(t, rec.HardState.String(), again.HardState.String())
		require.NoError(t, l.Close())
	}
}

func TestSegmentsAreCutAndReleased(t *testing.T) {
	for _, background := range []bool{false, true} {
		t.Run(fmt.Sprint(background), func(t *testing.T) {
			fs, dir := vfs.OS(), filepath.Join(t.TempDir(), "wal")
			o := Options{SegmentSize: 4096, Background: background}
			l, err := Create(fs, dir, testMeta, o)
			require.NoError(t, err)
			const n = 500
			for i := uint64(1); i <= n; i++ {
				require.NoError(t, l.Append(hard(1, 1, i-1), run(1, i, i), i%7 == 0))
			}
			before := l.Size()
			require.Greater(t, before.Segments, 5)
			require.GreaterOrEqual(t, before.Bytes, before.Written)

			names, err := fs.List(dir)
			require.NoError(t, err)
			for _, name := range names {
				seq, index, ok := parseSegmentName(name)
				if ok && seq > 0 {
					found := false
					require.NoError(t, Read(fs, dir, func(r *Record) error {
						if filepath.Base(r.File) == name && r.Type == TypeEntry && !found {
							e, err := r.Entry()
							require.Equal(t, index, e.GetIndex(), "the name tells the first entry")
							found = true
							return err
						}
						return nil
					}))
					require.True(t, found)
				}
				require.Eventually(t, func() bool { // one that is being made gets its mode in a moment
					info, err := fs.Stat(fs.PathJoin(dir, name))
					return err == nil && info.Mode().Perm() == vfs.FileMode
				}, 5*time.Second, time.Millisecond, name)
			}

			require.NoError(t, l.Release(n), "nothing is marked")
			require.Equal(t, before.Segments, l.Size().Segments)
			require.NoError(t, l.Mark(Mark{400, 1, conf}))
			require.NoError(t, l.Release(100))
			some := l.Size().Segments
			require.Less(t, some, before.Segments)
			require.NoError(t, l.Release(n))
			require.Less(t, l.Size().Segments, some)
			require.NoError(t, l.Release(n))
			require.NoError(t, l.Append(hard(1, 1, n), run(1, n+1, n+1), true))
			require.NoError(t, l.Close())

			l, rec, err := Open(fs, dir, o)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("1:401-%d ", n+1), show(t, rec.Entries))
			require.NoError(t, l.Close())
			left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestLostMiddleSegmentIsNoticed(t *testing.T) {
	fs := newFS(t)
	o := Options{SegmentSize: 1024}
	l := mustCreate(t, fs, o)
	for i := uint64(1); i <= 100; i++ {
		require.NoError(t, l.Append(hard(1, 1, i-1), run(1, i, i), true))
	}
	require.NoError(t, l.Close())
	segs, err := listSegments(fs, "/m/wal")
	require.NoError(t, err)
	require.Greater(t, len(segs), 4)
	require.NoError(t, fs.Remove("/m/wal/"+segs[2].name))
	_, _, err = Open(fs, "/m/wal", o)
	require.ErrorContains(t, err, "no mark")
}

func TestMissingCommittedEntriesAreNoticed(t *testing.T) {
	fs := newFS(t)
	l := mustCreate(t, fs, Options{SegmentSize: 4096})
	require.NoError(t, l.Append(hard(1, 1, 9), run(1, 1, 5), true))
	require.NoError(t, l.Close())
	_, _, err := Open(fs, "/m/wal", Options{})
	require.ErrorContains(t, err, "the last entry is 5, but 9 was committed")
	_, err = Verify(fs, "/m/wal")
	require.ErrorContains(t, err, "the last entry is 5, but 9 was committed")
}

func TestSecondOpenIsRefused(t *testing.T) {
	for _, fs := range []vfs.FS{vfs.OS(), newFS(t)} {
		dir := "/m/wal"
		if fs == vfs.OS() {
			dir = filepath.Join(t.TempDir(), "wal")
		}
		l, err := Create(fs, dir, testMeta, Options{SegmentSize: 4096})
		require.NoError(t, err)
		_, _, err = Open(fs, dir, Options{})
		require.ErrorIs(t, err, ErrLocked)
		require.ErrorContains(t, err, dir)
		require.NoError(t, l.Close())
		l, _, err = Open(fs, dir, Options{})
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.ErrorIs(t, l.Append(hard(1, 1, 1), nil, true), ErrClosed)
		require.ErrorIs(t, l.Mark(Mark{}), ErrClosed)
		require.ErrorIs(t, l.Release(1), ErrClosed)
	}
}

func TestCreateTakesAnEmptyDirectoryAndNoOther(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wal")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.MkdirAll(dir+".tmp/left/over", 0o700))
	l, err := Create(vfs.OS(), dir, testMeta, Options{SegmentSize: 4096})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, vfs.DirMode, info.Mode().Perm())

	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.Mkdir(other, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(other, "precious"), nil, 0o600))
	_, err = Create(vfs.OS(), other, testMeta, Options{SegmentSize: 4096})
	require.Error(t, err)
	require.FileExists(t, filepath.Join(other, "precious"))
}

func TestWrongEntriesAreRefusedAndDoNoHarm(t *testing.T) {
	fs := newFS(t)
	l := mustCreate(t, fs, Options{SegmentSize: 4096})
	require.NoError(t, l.Append(hard(1, 1, 0), run(1, 1, 5), true))
	for name, bad := range map[string][]*raftpb.Entry{
		"a gap":         run(1, 7, 8),
		"no index":      {{Term: new(uint64(1))}},
		"nil":           {nil},
		"not in order":  {entry(1, 6, ""), entry(1, 6, "")},
		"a gap inside":  {entry(1, 6, ""), entry(1, 8, "")},
		"going back":    {entry(1, 3, ""), entry(1, 2, "")},
		"nil in middle": {entry(1, 6, ""), nil},
	} {
		require.Error(t, l.Append(nil, bad, true), name)
	}
	require.NoError(t, l.Append(nil, run(1, 6, 6), true))
	require.NoError(t, l.Close())
	l, rec := mustOpen(t, fs, Options{})
	require.Equal(t, "1:1-6 ", show(t, rec.Entries))
	require.NoError(t, l.Close())
}

func TestFirstFailureIsFinal(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]vfs.Rule{
		"write":                 {Op: vfs.OpWrite, Path: segmentSuffix, Err: broken, Times: 1},
		"torn write":            {Op: vfs.OpWrite, Path: segmentSuffix, Err: broken, Times: 1, Partial: true},
		"sync":                  {Op: vfs.OpSync, Path: segmentSuffix, Err: broken, Times: 1},
		"rename":                {Op: vfs.OpRename, Err: broken, Times: 1},
		"sync directory":        {Op: vfs.OpSyncDir, Err: broken, Times: 1},
		"sync of a new segment": {Op: vfs.OpSync, Path: tempSuffix, Err: broken, Times: 3},
	}
	for name, rule := range cases {
		t.Run(name, func(t *testing.T) {
			mem := newFS(t)
			faults := vfs.NewFaults(mem, 1)
			o := Options{SegmentSize: 1024}
			l := mustCreate(t, faults, o)
			require.NoError(t, l.Append(hard(1, 1, 0), run(1, 1, 3), true))
			faults.Add(rule)
			var err error
			acked := uint64(3)
			for i := uint64(4); i < 100 && err == nil; i++ {
				if err = l.Append(nil, run(1, i, i), true); err == nil {
					acked = i
				}
			}
			require.ErrorIs(t, err, broken)
			require.ErrorContains(t, err, "/m/wal")
			require.Equal(t, err, l.Append(nil, nil, true), "the same error for ever")
			require.Equal(t, err, l.Mark(Mark{1, 1, nil}))
			require.NoError(t, l.Close())
			for seed := range uint64(10) {
				l, rec := mustOpen(t, mem.Crash(seed, vfs.Loss{KeepPercent: 50, TornPercent: 30}), o)
				require.GreaterOrEqual(t, uint64(len(rec.Entries)), acked)
				show(t, rec.Entries)
				require.NoError(t, l.Close())
			}
		})
	}
}

func TestFullDiskGivesAClearError(t *testing.T) {
	faults := vfs.NewFaults(newFS(t), 1)
	o := Options{SegmentSize: 4096}
	l := mustCreate(t, faults, o)
	faults.Limit(6000)
	var err error
	acked := uint64(0)
	for i := uint64(1); err == nil; i++ {
		if err = l.Append(nil, run(1, i, i), true); err == nil {
			acked = i
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, l.Close())
	faults.Limit(-1)
	l, rec := mustOpen(t, faults, o)
	require.Equal(t, fmt.Sprintf("1:1-%d ", acked), show(t, rec.Entries))
	require.NoError(t, l.Append(nil, run(1, acked+1, acked+1), true))
	require.NoError(t, l.Close())
}

func TestSyncsAreOnePerAppend(t *testing.T) {
	faults := vfs.NewFaults(newFS(t), 1)
	var told int
	l := mustCreate(t, faults, Options{SegmentSize: 1 << 20, OnSync: func(time.Duration) { told++ }})
	syncs, writes := faults.Count(vfs.OpSync), faults.Count(vfs.OpWrite)
	require.NoError(t, l.Append(hard(1, 1, 0), run(1, 1, 100), true))
	require.Equal(t, syncs+1, faults.Count(vfs.OpSync))
	require.Equal(t, writes+1, faults.Count(vfs.OpWrite))
	require.NoError(t, l.Append(hard(1, 1, 5), nil, false))
	require.Equal(t, syncs+1, faults.Count(vfs.OpSync))
	require.NoError(t, l.Sync())
	require.NoError(t, l.Sync())
	require.Equal(t, syncs+2, faults.Count(vfs.OpSync))
	require.Equal(t, 2, told)
	require.NoError(t, l.Close())
}

func TestSegmentNames(t *testing.T) {
	require.Equal(t, "0000000000000000-0000000000000000.wal", segmentName(0, 0))
	require.Equal(t, "000000000000000a-00000000000000ff.wal", segmentName(10, 255))
	for _, bad := range []string{"", "x.wal", "0000000000000000-0000000000000000.wal.broken", "0.tmp",
		strings.ToUpper("000000000000000a-00000000000000ff") + ".wal", "000000000000000a_00000000000000ff.wal",
		"+00000000000000a-00000000000000ff.wal", "000000000000000a-00000000000000ff"} {
		_, _, ok := parseSegmentName(bad)
		require.False(t, ok, bad)
	}
}
