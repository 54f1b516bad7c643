package wal

import (
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/vfs"
)

func batch(n, size int) []*raftpb.Entry {
	out := make([]*raftpb.Entry, n)
	for i := range out {
		out[i] = &raftpb.Entry{Term: new(uint64(3)), Index: new(uint64(1_000_000 + i)), Data: make([]byte, size)}
	}
	return out
}

// BenchmarkEncode is the work of an Append without the disk.
func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct{ n, size int }{{1, 300}, {32, 300}, {256, 300}, {1, 1 << 20}} {
		b.Run(fmt.Sprintf("%dx%d", c.n, c.size), func(b *testing.B) {
			entries, hs := batch(c.n, c.size), hard(3, 1, 1_000_000)
			var e encoder
			b.SetBytes(int64(c.n * c.size))
			b.ReportAllocs()
			for b.Loop() {
				e.reset()
				for _, x := range entries {
					e.entry(x)
				}
				e.state(hs)
			}
		})
	}
}

// BenchmarkAppend writes to the disk, with a sync each or without.
func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, n := range []int{1, 32} {
			b.Run(fmt.Sprintf("sync=%v/%d", sync, n), func(b *testing.B) {
				l, err := Create(vfs.OS(), filepath.Join(b.TempDir(), "wal"), testMeta, Options{Background: true})
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				entries := batch(n, 300)
				next := uint64(0)
				b.SetBytes(int64(n * 300))
				b.ReportAllocs()
				for b.Loop() {
					for _, e := range entries {
						next++
						*e.Index = next
					}
					if err := l.Append(nil, entries, sync); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpen reads a log of one full segment.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "wal")
	l, err := Create(vfs.OS(), dir, testMeta, Options{})
	if err != nil {
		b.Fatal(err)
	}
	entries := batch(100, 300)
	for next := uint64(0); l.off < 60_000_000; {
		for _, e := range entries {
			next++
			*e.Index = next
		}
		if err := l.Append(nil, entries, false); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(60_000_000)
	for b.Loop() {
		l, _, err := Open(vfs.OS(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
