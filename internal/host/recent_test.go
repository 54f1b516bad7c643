package host

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Recent
		n, p99, longest := r.Last()
		require.Zero(t, n)
		require.Zero(t, p99)
		require.Zero(t, longest)
		for range 995 {
			r.Add(900 * time.Microsecond)
		}
		for range 5 {
			r.Add(3 * time.Second)
		}
		n, p99, longest = r.Last()
		require.Equal(t, 1000, n)
		require.Equal(t, 1024*time.Microsecond, p99)
		require.Equal(t, 3*time.Second, longest)
		for range 10 {
			r.Add(3 * time.Second)
		}
		_, p99, _ = r.Last()
		require.Equal(t, 3*time.Second, p99)
		time.Sleep(2 * time.Minute)
		r.Add(-1)
		n, _, longest = r.Last()
		require.Equal(t, 1, n)
		require.Zero(t, longest)
	})
}
