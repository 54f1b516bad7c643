// Package fuzz holds what fuzz targets have in common.
package fuzz

import (
	"runtime/metrics"
	"testing"
)

// allocated is how many bytes this process has allocated so far.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// Frugal begins to count what the process allocates, in use or not any more. The function that it returns fails the test if
// that was more than most bytes: an input of few bytes must not cost many.
func Frugal(t testing.TB, most int) (end func()) {
	before := allocated()
	return func() {
		t.Helper()
		if got := allocated() - before; got > uint64(most) && !t.Failed() {
			t.Errorf("%d bytes were allocated, more than %d", got, most)
		}
	}
}
