package host

import (
	"math/bits"
	"sync"
	"time"
)

const (
	recentSlots = 6
	recentSlot  = 10 * time.Second
)

// Recent counts how long something has taken in the last minute, in powers of two of a microsecond. Any goroutine may
// use it.
type Recent struct {
	mu    sync.Mutex
	slots [recentSlots]recentSlotCounts
}

type recentSlotCounts struct {
	at      int64 // which ten seconds
	counts  [40]int
	longest time.Duration
}

// Add counts one.
func (r *Recent) Add(took time.Duration) {
	at := time.Now().UnixNano() / int64(recentSlot)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.slots[at%recentSlots]
	if s.at != at {
		*s = recentSlotCounts{at: at}
	}
	s.counts[min(bits.Len64(uint64(max(took, 0)/time.Microsecond)), len(s.counts)-1)]++
	s.longest = max(s.longest, took)
}

// Last tells how many there were in the last minute, an upper bound of what 99 of 100 took, and the longest.
func (r *Recent) Last() (n int, p99, longest time.Duration) {
	since := time.Now().UnixNano()/int64(recentSlot) - recentSlots
	r.mu.Lock()
	defer r.mu.Unlock()
	var counts [40]int
	for i := range r.slots {
		s := &r.slots[i]
		if s.at <= since {
			continue
		}
		for k, c := range s.counts {
			counts[k] += c
			n += c
		}
		longest = max(longest, s.longest)
	}
	left := n / 100 // so many may take longer
	for k := len(counts) - 1; k >= 0; k-- {
		if counts[k] > left {
			return n, min(time.Microsecond<<k, longest), longest
		}
		left -= counts[k]
	}
	return n, 0, longest
}
