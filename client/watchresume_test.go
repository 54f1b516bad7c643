package client_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/client"
)

// Writers go on while the server is cut off again and again; every watch sees
// every revision once and in order, whatever its reader's pace.
func TestWatchesSurviveManyRestarts(t *testing.T) {
	s, c := start(t, func(cfg *client.Config) { cfg.WatchBufferBytes = 2 << 10 })
	const rounds, puts, watches = 8, 40, 5
	var chans []client.WatchChan
	for range watches {
		chans = append(chans, c.Watch(timeout(t), "k", client.WithPrefix()))
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		for round := range rounds {
			for i := range puts {
				s.Set(fmt.Sprintf("k%d=%d", i, round))
			}
		}
	}()
	for range rounds {
		s.Stop()
		s.Restart(t)
	}
	<-wrote
	for _, ch := range chans {
		next := int64(2)
		for next < rounds*puts+2 {
			r, ok := <-ch
			require.True(t, ok)
			require.NoError(t, r.Err())
			for _, ev := range r.Events {
				require.Equal(t, next, ev.Kv.ModRevision)
				next++
			}
		}
	}
}
