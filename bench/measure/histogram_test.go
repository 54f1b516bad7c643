package measure

import (
	"math"
	"testing"
	"time"
)

func TestHistogramCells(t *testing.T) {
	last := -1
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 129, 130, 255, 256, 1000, 1e6, 123456789, 1e12, math.MaxInt64} {
		c := cellOf(v)
		low := floorOf(c)
		if c < last || low > v || v-low > v/64 {
			t.Errorf("%d is in cell %d, from %d", v, c, low)
		}
		last = c
	}
}

func TestHistogramQuantiles(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for q, want := range map[float64]float64{0.5: 501e-6, 0.99: 991e-6} {
		if got := h.quantile(q); math.Abs(got-want) > want/50 {
			t.Errorf("quantile %g is %g, not %g", q, got, want)
		}
	}
	if h.max() != 1e-3 || math.Abs(h.mean()-500.5e-6) > 1e-9 {
		t.Errorf("max %g, mean %g", h.max(), h.mean())
	}
}
