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
// It owns one goroutine, which stop ends; GOGC in the environment switches it off.
type heapTuner struct {
	quit chan struct{}
	wg   sync.WaitGroup
}

const (
	minHeadroom  = 96 << 20
	headroomPart = 5 // a large heap may grow by one part in so many
	maxGCPercent = 400
	minGCPercent = 100 / headroomPart
	tuneInterval = time.Second
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
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := maxGCPercent
	for {
		select {
		case <-t.quit:
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		if want := gcPercent(int64(sample[0].Value.Uint64())); want < now*9/10 || want > now*11/10 {
			debug.SetGCPercent(want)
			now = want
		}
	}
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
