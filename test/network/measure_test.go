//go:build linux

package network

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// figures are the times that were measured in this run, for the table at its end.
var figures struct {
	mu   sync.Mutex
	rows []string
}

// measured takes note of times, and fails the test if one is above the bound; 0 stands for none.
func measured(t testing.TB, what string, bound time.Duration, took ...time.Duration) {
	t.Helper()
	slices.Sort(took)
	limit := "-"
	if bound > 0 {
		limit = bound.String()
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }
	row := fmt.Sprintf("%s\t%d\t%s\t%s\t%s\t%s", what, len(took), ms(took[0]), ms(took[len(took)/2]), ms(took[len(took)-1]), limit)
	figures.mu.Lock()
	figures.rows = append(figures.rows, row)
	figures.mu.Unlock()
	t.Logf("%s: %v, bound %s", what, took, limit)
	if bound > 0 {
		require.LessOrEqual(t, took[len(took)-1], bound, what)
	}
}

// percentile is the time that a share of times do not exceed.
func percentile(took []time.Duration, share float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(took))
	return s[min(len(s)-1, int(share*float64(len(s))))]
}

// report prints the table.
func report() {
	if len(figures.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "measured\ttimes\tleast (ms)\tmedian\tmost\tbound\t")
	for _, r := range figures.rows {
		fmt.Fprintln(w, r+"\t")
	}
	_ = w.Flush()
}
