package gentle_test

import (
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/enginetest"
	"github.com/cairn-kv/cairn/internal/engine/gentle"
	"github.com/cairn-kv/cairn/internal/engine/mem"
)

type harness struct{ last *mem.Engine }

func (h *harness) Open(*testing.T) engine.Engine {
	if h.last == nil {
		h.last = mem.New()
	} else {
		h.last = h.last.Crash()
	}
	return gentle.Wrap(h.last)
}

func (h *harness) Crash(_ *testing.T, _ engine.Engine, seed uint64) engine.Engine {
	h.last = h.last.CrashKeeping(int(seed % uint64(h.last.Unflushed()+2)))
	return gentle.Wrap(h.last)
}

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Harness { return &harness{} })
}

// TestOthersRun counts how often another goroutine gets the only processor while a large batch is made and scanned.
func TestOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var turns atomic.Int64
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		for {
			select {
			case <-quit:
				return
			default:
				turns.Add(1)
				runtime.Gosched()
			}
		}
	}()
	e := gentle.Wrap(mem.New())
	defer e.Close()
	b := e.NewBatch()
	const n = 20_000
	before := turns.Load()
	for i := range uint64(n) {
		b.Set(engine.Key, binary.BigEndian.AppendUint64(nil, i), nil)
	}
	require.Greater(t, turns.Load()-before, int64(100), "while the batch was made")
	require.NoError(t, e.Commit(b))
	before = turns.Load()
	v := e.View()
	defer v.Release()
	require.NoError(t, v.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { return true }))
	require.Greater(t, turns.Load()-before, int64(100), "while it was scanned")
}
