package measure

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/cairn-kv/cairn/bench/report"
)

// histogram counts latencies from many goroutines. A value is kept to within 1/64 of itself.
type histogram struct {
	count, sum, most atomic.Int64
	cells            [64 * 64]atomic.Int64
}

// cellOf: below 64 the value itself; above, its magnitude and the six bits that follow the first.
func cellOf(v uint64) int {
	if v < 64 {
		return int(v)
	}
	shift := bits.Len64(v) - 7
	return shift<<6 + int(v>>shift)
}

// floorOf is the least value of a cell.
func floorOf(cell int) uint64 {
	if cell < 128 {
		return uint64(cell)
	}
	shift := cell>>6 - 1
	return uint64(cell-shift<<6) << shift
}

func (h *histogram) add(d time.Duration) {
	v := max(0, int64(d))
	h.count.Add(1)
	h.sum.Add(v)
	h.cells[cellOf(uint64(v))].Add(1)
	for {
		m := h.most.Load()
		if v <= m || h.most.CompareAndSwap(m, v) {
			return
		}
	}
}

func (h *histogram) mean() float64 {
	n := h.count.Load()
	if n == 0 {
		return 0
	}
	return float64(h.sum.Load()) / float64(n) / 1e9
}

// quantile is in seconds.
func (h *histogram) quantile(q float64) float64 {
	rank := int64(q * float64(h.count.Load()))
	for i := range h.cells {
		rank -= h.cells[i].Load()
		if rank < 0 {
			return float64(floorOf(i)) / 1e9
		}
	}
	return h.max()
}

func (h *histogram) max() float64 { return float64(h.most.Load()) / 1e9 }

// into adds what the histogram says to a sample.
func (h *histogram) into(s report.Sample) {
	s[report.Mean], s[report.P50], s[report.P99] = h.mean(), h.quantile(0.50), h.quantile(0.99)
}
