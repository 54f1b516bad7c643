package cairn

import "testing"

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live int64
		want int
	}{
		{0, maxGCPercent}, {1 << 20, maxGCPercent}, {24 << 20, maxGCPercent}, {128 << 20, 100}, {256 << 20, 50},
		{512 << 20, 25}, {640 << 20, 20}, {10 << 30, 20},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d live bytes: %d %%, want %d %%", c.live, got, c.want)
		}
	}
}

func TestMemoryIsGivenBackWhenQuiet(t *testing.T) {
	const mib = 1 << 20
	var q quiet
	for i, c := range []struct {
		allocated, spare int64
		give             bool
	}{
		{500 * mib, 100 * mib, false}, // busy
		{900 * mib, 100 * mib, false},
		{901 * mib, 100 * mib, false}, // quiet for one tick
		{902 * mib, 100 * mib, true},
		{903 * mib, 100 * mib, false},   // once is enough
		{1000 * mib, 100 * mib, false},  // busy again
		{1001 * mib, 100 * mib, false},  //
		{1004 * mib, 100 * mib, false},  // not yet quiet
		{1005 * mib, 100 * mib, false},  //
		{1006 * mib, 10 * mib, false},   // not worth it
		{1007 * mib, 30 * mib, true},    //
		{1008 * mib, 3000 * mib, false}, // nothing was allocated since
	} {
		if got := q.tick(c.allocated, c.spare); got != c.give {
			t.Errorf("tick %d: %v, want %v", i, got, c.give)
		}
	}
}
