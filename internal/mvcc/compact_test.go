package mvcc

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

// TestBothWaysOfCompactionRemoveTheSame compacts random histories over the revisions and over the index.
func TestBothWaysOfCompactionRemoveTheSame(t *testing.T) {
	for seed := range uint64(60) {
		var left [2][]string
		for way := range 2 {
			rnd := rand.New(rand.NewPCG(seed, 0))
			eng := mem.New()
			s, err := Open(eng, nil)
			require.NoError(t, err)
			write := func(n int) {
				b := eng.NewBatch()
				for range n {
					key := fmt.Sprint(rnd.IntN(40))
					if rnd.IntN(3) == 0 {
						s.Delete(b, wire.ParseRange([]byte(key), nil), nil)
					} else {
						s.Put(b, []byte(key), []byte("v"), 0)
					}
					if rnd.IntN(4) > 0 {
						s.End()
					}
				}
				s.End()
				require.NoError(t, eng.Commit(b))
			}
			for range 4 {
				write(100)
				b := eng.NewBatch()
				require.NoError(t, s.Compact(b, s.CompactRev()+1+rnd.Int64N(s.Rev()-s.CompactRev())))
				require.NoError(t, eng.Commit(b))
				c := &s.physical[0]
				c.begun, c.byKey = true, way == 1
				c.revision = binary.BigEndian.AppendUint64(nil, uint64(max(c.from, 0)))
				for done := false; !done; {
					b := eng.NewBatch()
					_, done, err = s.Step(b, 3)
					require.NoError(t, err)
					require.NoError(t, eng.Commit(b))
				}
			}
			require.NoError(t, eng.Scan(engine.Key, nil, nil, func(k, v []byte) bool {
				left[way] = append(left[way], fmt.Sprintf("%x %x", k, v))
				return true
			}))
			again, err := Open(eng, nil)
			require.NoError(t, err)
			for i := range 40 {
				key := fmt.Sprint(i)
				require.Equal(t, s.View().Get(key), again.View().Get(key))
			}
		}
		require.Equal(t, left[0], left[1], "seed %d", seed)
	}
}

// TestShortCompactionsDoNotWalkTheIndex: a few changes in a large store are found by their revisions.
func TestShortCompactionsDoNotWalkTheIndex(t *testing.T) {
	eng := mem.New()
	s, err := Open(eng, nil)
	require.NoError(t, err)
	b := eng.NewBatch()
	for i := range 2000 {
		s.Put(b, fmt.Append(nil, i), nil, 0)
	}
	s.End()
	require.NoError(t, s.Compact(b, s.Rev()))
	require.NoError(t, eng.Commit(b))
	step := func() (done bool) {
		b := eng.NewBatch()
		_, done, err := s.Step(b, 10)
		require.NoError(t, err)
		require.NoError(t, eng.Commit(b))
		return done
	}
	for first := true; !step(); first = false {
		if first {
			require.True(t, s.physical[0].byKey, "everything is new")
		}
	}
	b = eng.NewBatch()
	for range 3 {
		s.Put(b, []byte("7"), []byte("new"), 0)
		s.End()
	}
	require.NoError(t, s.Compact(b, s.Rev()))
	require.NoError(t, eng.Commit(b))
	b = eng.NewBatch()
	_, done, err := s.Step(b, 1)
	require.NoError(t, err)
	require.False(t, done)
	require.False(t, s.physical[0].byKey, "three records are new")
}
