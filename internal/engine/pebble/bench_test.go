package pebble_test

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/vfs"
)

func open(b *testing.B) *pebble.Engine {
	e, err := pebble.Open(vfs.OS(), b.TempDir(), pebble.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	return e
}

// BenchmarkCommit commits batches as an apply makes them: n records under new
// keys, and the applied index.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 32, 1000} {
		for _, kind := range []string{"mem", "pebble"} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				var e engine.Engine = mem.New()
				if kind == "pebble" {
					e = open(b)
				}
				var key [17]byte
				value := make([]byte, 300)
				next := uint64(0)
				b.SetBytes(int64(n * (len(key) + len(value))))
				b.ReportAllocs()
				for b.Loop() {
					batch := e.NewBatch()
					for range n {
						next++
						binary.BigEndian.PutUint64(key[:], next)
						batch.Set(engine.Key, key[:], value)
					}
					batch.Set(engine.Meta, []byte("consistent_index"), key[:8])
					if err := e.Commit(batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkLargeBatch commits and flushes 1,000,000 records at once.
func BenchmarkLargeBatch(b *testing.B) {
	var key [17]byte
	value := make([]byte, 359)
	for b.Loop() {
		e := open(b)
		batch := e.NewBatch()
		for i := range uint64(1_000_000) {
			binary.BigEndian.PutUint64(key[:], i)
			batch.Set(engine.Key, key[:], value)
		}
		if err := e.Commit(batch); err != nil {
			b.Fatal(err)
		}
		if err := e.Flush(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(1_000_000 * int64(len(key)+len(value)))
	}
}

func BenchmarkGet(b *testing.B) {
	e := open(b)
	var key [17]byte
	batch := e.NewBatch()
	const n = 100_000
	for i := range uint64(n) {
		binary.BigEndian.PutUint64(key[:], i)
		batch.Set(engine.Key, key[:], make([]byte, 300))
	}
	if err := e.Commit(batch); err != nil {
		b.Fatal(err)
	}
	if err := e.Flush(); err != nil {
		b.Fatal(err)
	}
	v := e.View()
	defer v.Release()
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		i += 7919
		binary.BigEndian.PutUint64(key[:], i%n)
		if _, ok, err := v.Get(engine.Key, key[:]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	e := open(b)
	for b.Loop() {
		e.View().Release()
	}
}
