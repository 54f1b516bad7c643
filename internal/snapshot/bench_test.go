package snapshot_test

import (
	"context"
	"encoding/binary"
	"io"
	"testing"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// BenchmarkImage writes 1,000,000 records of 376 bytes in all.
func BenchmarkImage(b *testing.B) {
	const n, valueSize = 1_000_000, 376 - 17
	fill := func(b *testing.B, e engine.Engine) {
		value := make([]byte, valueSize)
		var key [17]byte
		for i := 0; i < n; {
			batch := e.NewBatch()
			for j := 0; j < 10_000; i, j = i+1, j+1 {
				binary.BigEndian.PutUint64(key[:], uint64(i))
				binary.BigEndian.PutUint64(value, uint64(i)*0x9e3779b97f4a7c15)
				batch.Set(engine.Key, key[:], value)
			}
			if err := e.Commit(batch); err != nil {
				b.Fatal(err)
			}
		}
		if err := e.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	for _, kind := range []string{"mem", "pebble"} {
		b.Run(kind, func(b *testing.B) {
			var e engine.Engine = mem.New()
			if kind == "pebble" {
				var err error
				if e, err = pebble.Open(vfs.OS(), b.TempDir(), pebble.Options{}); err != nil {
					b.Fatal(err)
				}
			}
			defer e.Close()
			fill(b, e)
			v := e.View()
			defer v.Release()
			b.ReportAllocs()
			for b.Loop() {
				im, err := snapshot.Plan(context.Background(), v, snapshot.Options{})
				if err != nil {
					b.Fatal(err)
				}
				written, err := im.WriteTo(io.Discard)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(written)
			}
		})
	}
}
