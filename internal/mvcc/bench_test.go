package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

// filled is a store of n keys with values of 100 bytes, below ten prefixes.
func filled(b *testing.B, n int) (*Store, [][]byte) {
	eng := mem.New()
	s, err := Open(eng, nil)
	if err != nil {
		b.Fatal(err)
	}
	keys := make([][]byte, n)
	value := make([]byte, 100)
	batch := eng.NewBatch()
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "p%d/key%09d", i%10, i)
		s.Put(batch, keys[i], value, 0)
		s.End()
	}
	s.TakeChanges()
	return s, keys
}

// nowhere is a batch that keeps nothing.
type nowhere struct{ engine.Batch }

func (nowhere) Set(engine.Space, []byte, []byte) {}

func BenchmarkPut(b *testing.B) {
	const n = 200_000
	s, keys := filled(b, n)
	value := make([]byte, 100)
	rng := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		s.Put(nowhere{}, keys[rng.IntN(n)], value, 0)
		s.End()
		s.TakeChanges()
		s.View()
	}
}

func BenchmarkInsert(b *testing.B) {
	s, _ := filled(b, 1)
	value := make([]byte, 100)
	rng := rand.New(rand.NewPCG(1, 1))
	key := make([]byte, 0, 32)
	for i := 0; b.Loop(); i++ {
		key = fmt.Appendf(key[:0], "q%09d", rng.IntN(1<<30))
		s.Put(nowhere{}, key, value, 0)
		s.End()
		s.TakeChanges()
		s.View()
	}
}

// BenchmarkBytes is what a quota asks for.
func BenchmarkBytes(b *testing.B) {
	s, _ := filled(b, 200_000)
	v := s.Peek()
	r := wire.Range{Lo: "p5/", Hi: "p50"}
	for b.Loop() {
		v.Bytes(r)
		v.Count(r)
	}
}
