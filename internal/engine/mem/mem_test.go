package mem_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/enginetest"
	"github.com/cairn-kv/cairn/internal/engine/mem"
)

type harness struct{ last *mem.Engine }

func (h *harness) Open(*testing.T) engine.Engine {
	if h.last == nil {
		h.last = mem.New()
	} else {
		h.last = h.last.Crash()
	}
	return h.last
}

func (h *harness) Crash(_ *testing.T, e engine.Engine, seed uint64) engine.Engine {
	rng := rand.New(rand.NewPCG(seed, 0))
	m := e.(*mem.Engine)
	h.last = m.CrashKeeping(rng.IntN(m.Unflushed() + 2))
	return h.last
}

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Harness { return &harness{} })
}

func TestCrashLosesExactlyTheUnflushedCommits(t *testing.T) {
	e := mem.New()
	put := func(k string) {
		b := e.NewBatch()
		b.Set(engine.Key, []byte(k), []byte("v"))
		require.NoError(t, e.Commit(b))
	}
	put("a")
	require.NoError(t, e.Flush())
	put("b")
	put("c")
	require.Equal(t, 2, e.Unflushed())
	after := e.Crash()
	require.Equal(t, 0, after.Unflushed())
	require.EqualValues(t, len("xa")+len("v"), after.Size().Total)
	_, ok, err := after.Get(engine.Key, []byte("b"))
	require.NoError(t, err)
	require.False(t, ok)
	_, _, err = e.Get(engine.Key, []byte("a"))
	require.ErrorIs(t, err, engine.ErrClosed)
}

func TestUnflushedCommitsAreBounded(t *testing.T) {
	e := mem.New()
	for i := range 1000 {
		b := e.NewBatch()
		b.Set(engine.Key, []byte{byte(i >> 8), byte(i)}, nil)
		require.NoError(t, e.Commit(b))
	}
	require.LessOrEqual(t, e.Unflushed(), 256)
	after := e.Crash()
	n := 0
	require.NoError(t, after.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { n++; return true }))
	require.Equal(t, 1000-256, n)
}

func TestFailFlush(t *testing.T) {
	e := mem.New()
	b := e.NewBatch()
	b.Set(engine.Key, []byte("a"), nil)
	require.NoError(t, e.Commit(b))
	broken := errors.New("broken")
	e.FailFlush(broken)
	require.ErrorIs(t, e.Flush(), broken)
	e.FailFlush(nil)
	require.NoError(t, e.Flush())
	require.Zero(t, e.Unflushed())
}
