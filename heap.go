package cairn

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// heapTuner keeps the garbage collector's headroom within bounds: a small heap is not collected all the time, and a
// large one does not double. The records are most of a large heap and hold no pointers, so looking at them is cheap.
// When the member falls quiet, it gives what the last burst of work took back to the system.
// It owns one goroutine, which stop ends; GOGC in the environment switches it off.
type heapTuner struct {
	quit chan struct{}
	wg   sync.WaitGroup
}

const (
	minHeadroom  = 128 << 20
	headroomPart = 5 // a large heap may grow by one part in so many
	maxGCPercent = 400
	minGCPercent = 100 / headroomPart
	tuneInterval = 500 * time.Millisecond

	quietTicks   = 2       // so many ticks with little allocated are quiet
	quietBytes   = 2 << 20 // is little for one tick
	worthGiving  = 24 << 20
	sinceLastOne = 16 << 20 // allocated since memory was given back: less cannot have left much
)

func startHeapTuner() *heapTuner {
	t := &heapTuner{quit: make(chan struct{})}
	if os.Getenv("GOGC") != "" {
		return t
	}
	debug.SetGCPercent(maxGCPercent)
	t.wg.Add(1)
	go t.run()
	return t
}

func (t *heapTuner) run() {
	defer t.wg.Done()
	ticker := time.NewTicker(tuneInterval)
	defer ticker.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	now := maxGCPercent
	var q quiet
	for {
		select {
		case <-t.quit:
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		live := int64(sample[0].Value.Uint64())
		if want := gcPercent(live); want < now*9/10 || want > now*11/10 {
			debug.SetGCPercent(want)
			now = want
		}
		resident := int64(sample[2].Value.Uint64() + sample[3].Value.Uint64() + sample[4].Value.Uint64())
		if q.tick(int64(sample[1].Value.Uint64()), resident-live) {
			debug.FreeOSMemory()
		}
	}
}

// quiet finds the moments to give memory back.
type quiet struct {
	ticks  int
	before int64 // bytes allocated ever, at the last tick
	given  int64 // and when memory was given back last
}

// tick is told how many bytes were allocated ever, and how many of those resident are not known to be in use.
func (q *quiet) tick(allocated, spare int64) (give bool) {
	if allocated-q.before > quietBytes {
		q.ticks = 0
	} else {
		q.ticks++
	}
	q.before = allocated
	if q.ticks < quietTicks || allocated-q.given < sinceLastOne || spare < worthGiving {
		return false
	}
	q.given = allocated
	return true
}

// gcPercent is by how much a heap with so many live bytes may grow before it is collected, in percent.
func gcPercent(live int64) int {
	headroom := max(minHeadroom, live/headroomPart)
	return int(min(maxGCPercent, max(minGCPercent, headroom*100/max(live, 1))))
}

func (t *heapTuner) stop() {
	close(t.quit)
	t.wg.Wait()
}
