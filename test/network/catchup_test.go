//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/cairn-kv/cairn/test/process"
)

const (
	catchUpKeys  = 200_000
	catchUpValue = 256 // bytes
	perTxn       = 64
)

// A follower that is far behind is sent a snapshot, and clients do not notice.
func TestCatchUpBySnapshot(t *testing.T) {
	s := newScene(t, "--snapshot-catchup-entries", "500")
	lead := s.Leader()
	behind := s.Others(lead)[0]
	behind.Kill()
	behind.Place = unhurried(behind.Place)
	value := strings.Repeat("v", catchUpValue)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for first := w * perTxn; first < catchUpKeys; first += 4 * perTxn {
				var ops []clientv3.Op
				for i := first; i < first+perTxn; i++ {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("far/%06d", i), value))
				}
				if _, err := s.outside[lead].Txn(within(t, patience)).Then(ops...).Commit(); err != nil {
					t.Errorf("load: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d keys were put in %v", catchUpKeys, time.Since(began))
	time.Sleep(2 * time.Second) // what is left to do in the background

	// Windows with and without a catch-up take turns, as the machine has other work. What windows without one differ by
	// among each other is noise, and allowed for.
	pairs := 5
	if *long {
		pairs = 15
	}
	var without, with, lasted []time.Duration
	for range pairs {
		quiet := s.rate(lead, func() { time.Sleep(2 * time.Second) })
		busy := s.rate(lead, func() {
			began := time.Now()
			behind.Launch()
			require.Eventually(t, func() bool { return strings.Contains(behind.Out.String(), "installed a snapshot") }, patience, 5*time.Millisecond)
			lasted = append(lasted, time.Since(began))
		})
		without, with = append(without, percentile(quiet, .99)), append(with, percentile(busy, .99))
		s.rate(lead, func() { time.Sleep(time.Second) }) // so that the follower will be far behind again
		behind.Kill()
	}
	behind.Start()
	measured(t, "snapshot: from the follower's start until it has the state", 0, lasted...)
	measured(t, "puts at 500/s: p99 without a catch-up", 0, without...)
	measured(t, "puts at 500/s: p99 while a snapshot is sent", 0, with...)
	usual, noise := median(without), percentile(without, .75)-percentile(without, .25)
	measured(t, "puts at 500/s: median p99 while a snapshot is sent", usual+usual/5+noise, median(with))
	require.Equal(t, lead, s.Leader())
	s.end()
}

func median(took []time.Duration) time.Duration { return percentile(took, .5) }

// unhurried is a place whose processes run when few others have anything to do: that of a member whose machine is not
// this one, as far as its own work must not count.
func unhurried(p process.Place) process.Place {
	return func(f func() error) error {
		return p(func() error { // on a thread of its own
			if err := unix.Setpriority(unix.PRIO_PROCESS, 0, 19); err != nil {
				return err
			}
			return errors.Join(f(), unix.Setpriority(unix.PRIO_PROCESS, 0, 0))
		})
	}
}

// rate puts at a fixed rate, through one member, while during runs, and returns how long each put took from the moment
// at which it was due.
func (s *scene) rate(through *process.Member, during func()) (took []time.Duration) {
	s.t.Helper()
	const every = 2 * time.Millisecond
	c := s.outside[through]
	value := strings.Repeat("w", catchUpValue)
	stop, done := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		defer wg.Wait()
		for due := time.Now(); ; due = due.Add(every) {
			time.Sleep(time.Until(due))
			select {
			case <-stop:
				return
			default:
			}
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
				defer cancel()
				if _, err := c.Put(ctx, fmt.Sprintf("far/%06d", rand.IntN(catchUpKeys)), value); err != nil {
					s.t.Errorf("put: %v", err)
				}
				mu.Lock()
				took = append(took, time.Since(due))
				mu.Unlock()
			})
		}
	}()
	during()
	close(stop)
	<-done
	return took
}
