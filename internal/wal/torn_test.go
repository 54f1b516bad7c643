package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

const firstSegment = "/m/wal/0000000000000000-0000000000000000.wal"

// place writes a segment of the given bytes into a fresh file system.
func place(t *testing.T, data []byte) *vfs.Memory {
	t.Helper()
	fs := newFS(t)
	require.NoError(t, fs.MkdirAll("/m/wal", vfs.DirMode))
	require.NoError(t, vfs.WriteFile(fs, firstSegment, data))
	require.NoError(t, vfs.SyncDir(fs, "/m"))
	require.NoError(t, vfs.SyncDir(fs, "/m/wal"))
	return fs
}

// image returns a segment of n entries of about size bytes and its records'
// offsets, the end of the last one at the end.
func image(t *testing.T, n, size int) ([]byte, []int64) {
	t.Helper()
	fs := newFS(t)
	l := mustCreate(t, fs, Options{SegmentSize: 8 << 10})
	for i := 1; i <= n; i++ {
		e := entry(1, uint64(i), strings.Repeat(string(rune('a'+i%26)), size))
		require.NoError(t, l.Append(nil, []*raftpb.Entry{e}, true))
	}
	end := l.off
	require.NoError(t, l.Close())
	data, err := vfs.ReadFile(fs, firstSegment, 1<<20)
	require.NoError(t, err)
	var offsets []int64
	require.NoError(t, Read(fs, "/m/wal", func(r *Record) error {
		offsets = append(offsets, r.Offset)
		return nil
	}))
	return data, append(offsets, end)
}

// requireEntries opens a log and compares how many entries it has.
func requireEntries(t *testing.T, fs vfs.FS, want int, repaired bool, what string) {
	t.Helper()
	rep, err := Verify(fs, "/m/wal")
	require.NoError(t, err, what)
	require.Equal(t, repaired, rep.Torn != nil, what)
	l, rec, err := Open(fs, "/m/wal", Options{SegmentSize: 4096})
	require.NoError(t, err, what)
	require.Len(t, rec.Entries, want, what)
	require.Equal(t, repaired, rec.Repaired != nil, what)
	if repaired {
		_, err := fs.Stat(rec.Repaired.Copy)
		require.NoError(t, err)
		require.Equal(t, firstSegment, rec.Repaired.File)
	}
	// The log goes on, and needs no second repair.
	require.NoError(t, l.Append(nil, run(2, uint64(want)+1, uint64(want)+1), true), what)
	require.NoError(t, l.Close())
	l, rec, err = Open(fs, "/m/wal", Options{SegmentSize: 4096})
	require.NoError(t, err, what)
	require.Nil(t, rec.Repaired, what)
	require.Len(t, rec.Entries, want+1, what)
	require.NoError(t, l.Close())
}

func TestTornTailAtEveryByte(t *testing.T) {
	const n = 6
	for _, size := range []int{1, 11, 700} {
		data, at := image(t, n, size)
		whole := len(at) - 1 - n // records before the first entry
		for cut := at[whole+n-2]; cut < at[whole+n]; cut++ {
			left := n - 2
			if cut >= at[whole+n-1] {
				left = n - 1
			}
			onBoundary := slices.Contains(at, cut)
			what := fmt.Sprintf("entries of %d bytes, cut at %d", size, cut)
			requireEntries(t, place(t, data[:cut]), left, !onBoundary, "end of file: "+what)

			zeroed := slices.Clone(data)
			clear(zeroed[cut:])
			// Zeros that were zeros before do no harm.
			lastByte := at[whole+left+1]
			for lastByte > 0 && data[lastByte-1] == 0 {
				lastByte--
			}
			want, torn := left, !onBoundary
			if cut >= lastByte {
				want, torn = left+1, false
			}
			requireEntries(t, place(t, zeroed), want, torn, "zeros: "+what)
		}
	}
}

func TestLostSectorOfTheLastWriteIsTorn(t *testing.T) {
	fs := newFS(t)
	l := mustCreate(t, fs, Options{SegmentSize: 64 << 10})
	require.NoError(t, l.Append(nil, run(1, 1, 10), true))
	synced := l.off
	require.NoError(t, l.Append(nil, run(1, 11, 120), true))
	end := l.off
	require.NoError(t, l.Close())
	data, err := vfs.ReadFile(fs, firstSegment, 1<<20)
	require.NoError(t, err)
	for sector := (synced/512 + 1) * 512; sector+512 <= end; sector += 512 {
		lost := slices.Clone(data)
		clear(lost[sector : sector+512])
		fs := place(t, lost)
		l, rec, err := Open(fs, "/m/wal", Options{SegmentSize: 64 << 10})
		require.NoError(t, err, "sector at %d", sector)
		require.GreaterOrEqual(t, len(rec.Entries), 10)
		require.Less(t, len(rec.Entries), 120)
		show(t, rec.Entries)
		require.NoError(t, l.Close())
		_, err = Verify(fs, "/m/wal")
		require.NoError(t, err)
	}
}

func TestFlippedBitsAreRefused(t *testing.T) {
	const n = 8
	for _, size := range []int{3, 150} {
		data, at := image(t, n, size)
		last := at[len(at)-2]
		for pos := int64(0); pos < last; pos++ {
			bit := byte(1) << (pos % 8)
			bad := slices.Clone(data)
			bad[pos] ^= bit
			fs := place(t, bad)
			l, rec, err := Open(fs, "/m/wal", Options{SegmentSize: 4096})
			if err == nil {
				// Padding carries nothing.
				require.Len(t, rec.Entries, n, "bit of byte %d is lost silently", pos)
				require.Zero(t, data[pos], "byte %d", pos)
				require.NoError(t, l.Close())
				continue
			}
			var corrupt *CorruptError
			require.True(t, errors.As(err, &corrupt), "byte %d: %v", pos, err)
			require.Equal(t, firstSegment, corrupt.File)
			start := corrupt.Offset
			// A wrong checksum to start from shows in the record behind it.
			require.True(t, start <= max(pos, 16), "byte %d: %v", pos, err)
			require.ErrorContains(t, err, firstSegment)
			require.ErrorContains(t, err, fmt.Sprintf("offset %d", start))
			_, verifyErr := Verify(fs, "/m/wal")
			require.Equal(t, err.Error(), verifyErr.Error())
			after, err := vfs.ReadFile(fs, firstSegment, 1<<20)
			require.NoError(t, err)
			require.Equal(t, bad, after, "what is refused is not touched")
		}
	}
}

func TestFlippedBitsOfTheLastRecordDoNotChangeIt(t *testing.T) {
	const n = 5
	data, at := image(t, n, 30)
	last, end := at[len(at)-2], at[len(at)-1]
	refused := 0
	for pos := last; pos < end; pos++ {
		for bit := range 8 {
			bad := slices.Clone(data)
			bad[pos] ^= 1 << bit
			l, rec, err := Open(place(t, bad), "/m/wal", Options{SegmentSize: 4096})
			if err != nil {
				refused++
				continue
			}
			require.NoError(t, l.Close())
			if rec.Repaired == nil {
				require.Len(t, rec.Entries, n)
				require.Equal(t, strings.Repeat(string(rune('a'+n)), 30), string(rec.Entries[n-1].Data))
			} else {
				require.Len(t, rec.Entries, n-1)
			}
		}
	}
	require.Greater(t, refused, int(end-last)*8*3/4, "most of it cannot be a torn write, and is refused")
}

func TestDamageBeforeTheLastSegmentIsRefused(t *testing.T) {
	fs := newFS(t)
	o := Options{SegmentSize: 1024}
	l := mustCreate(t, fs, o)
	for i := uint64(1); i <= 60; i++ {
		require.NoError(t, l.Append(nil, run(1, i, i), true))
	}
	require.NoError(t, l.Close())
	segs, err := listSegments(fs, "/m/wal")
	require.NoError(t, err)
	require.Greater(t, len(segs), 2)
	path := "/m/wal/" + segs[1].name
	whole, err := vfs.ReadFile(fs, path, 1<<20)
	require.NoError(t, err)
	for _, cut := range []int{0, 5, 16, 40, len(whole) - 9} {
		require.NoError(t, vfs.WriteFile(fs, path, whole[:cut]))
		_, _, err := Open(fs, "/m/wal", o)
		var corrupt *CorruptError
		require.ErrorAs(t, err, &corrupt, "cut at %d", cut)
	}
	// A segment of whole records that ends early shows in the next one's head.
	require.NoError(t, vfs.WriteFile(fs, path, whole[:len(whole)/2/8*8]))
	_, _, err = Open(fs, "/m/wal", o)
	require.Error(t, err)
	// Another node's segment does not fit in.
	require.NoError(t, vfs.WriteFile(fs, path, whole))
	other := encoder{}
	other.crcRecord()
	other.metadata(Metadata{9, 9})
	require.NoError(t, vfs.WriteFile(fs, "/m/wal/"+segs[len(segs)-1].name, other.buf))
	_, _, err = Open(fs, "/m/wal", o)
	require.Error(t, err)
}

// TestPowerLoss appends at random, crashes at random, and compares with what
// was promised: everything synced is there, what follows it is a prefix of
// what was appended.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(80) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fs := newFS(t)
		o := Options{SegmentSize: int64(1024 + rng.IntN(4)*1500)}
		l := mustCreate(t, fs, o)
		var (
			log    []*raftpb.Entry // appended
			synced int             // of them
			marked uint64
			term   = uint64(1)
		)
		for range 3 {
			for range rng.IntN(30) {
				switch n := rng.IntN(20); {
				case n < 16:
					from := uint64(len(log)) + 1
					if rng.IntN(6) == 0 && len(log) > synced {
						term++
						from = uint64(synced) + 1 + uint64(rng.IntN(len(log)-synced))
					}
					batch := run(term, from, from+uint64(rng.IntN(8)))
					sync := rng.IntN(2) == 0
					require.NoError(t, l.Append(nil, batch, sync))
					log = append(log[:from-1:from-1], batch...)
					if sync {
						synced = len(log)
					}
				case n < 17:
					require.NoError(t, l.Append(hard(term, 1, uint64(synced)), nil, true))
					synced = len(log)
				case n < 18 && synced > int(marked):
					commit := uint64(synced)
					require.NoError(t, l.Append(hard(term, 1, commit), nil, true))
					synced = len(log)
					marked += 1 + uint64(rng.IntN(int(commit-marked)))
					require.NoError(t, l.Mark(Mark{marked, log[marked-1].GetTerm(), conf}))
				default:
					require.NoError(t, l.Release(uint64(rng.IntN(len(log)+1))))
				}
			}
			fs = fs.Crash(seed+rng.Uint64N(1000), vfs.Loss{KeepPercent: rng.IntN(100), TornPercent: rng.IntN(30)})
			require.NoError(t, l.Close())
			var rec *Recovered
			l, rec = mustOpen(t, fs, o)
			require.Equal(t, marked, rec.Start.Index)
			got := int(marked) + len(rec.Entries)
			require.GreaterOrEqual(t, got, synced)
			for i, e := range rec.Entries {
				index := int(marked) + i
				if index < synced {
					require.Equal(t, show(t, log[index:index+1]), show(t, []*raftpb.Entry{e}))
				}
			}
			// Unsynced entries may be of a term that was replaced later.
			log = append(log[:marked:marked], rec.Entries...)
			synced = len(log)
			_, err := Verify(fs, "/m/wal")
			require.NoError(t, err)
		}
		require.NoError(t, l.Close())
	}
}
