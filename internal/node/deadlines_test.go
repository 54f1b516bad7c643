package node

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/lease"
)

func sec(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func TestLeaseIsRevokedWhenItsTimeIsOver(t *testing.T) {
	d := NewDeadlines()
	d.Set(sec(10), lease.Lease{ID: 7, TTL: 5})
	left, ok := d.Remaining(sec(12), 7)
	require.True(t, ok)
	require.Equal(t, sec(3), left)
	revoke, _ := d.Tick(sec(14.9))
	require.Empty(t, revoke)
	revoke, _ = d.Tick(sec(15))
	require.Equal(t, []int64{7}, revoke)
	// The proposal may be lost: it is made again, but not all the time.
	revoke, _ = d.Tick(sec(15.5))
	require.Empty(t, revoke)
	revoke, _ = d.Tick(sec(15) + revokeRetry)
	require.Equal(t, []int64{7}, revoke)
	require.Equal(t, Renewal{Known: true, Expired: true}, d.Renew(sec(23), 7))
	d.Forget(7)
	d.Forget(7)
	require.Zero(t, d.Len())
	revoke, _ = d.Tick(sec(1000))
	require.Empty(t, revoke)
	require.Equal(t, Renewal{}, d.Renew(sec(1000), 7))
	_, ok = d.Remaining(0, 7)
	require.False(t, ok)
}

func TestRenewalGivesTheWholeTimeAgain(t *testing.T) {
	d := NewDeadlines()
	d.Set(0, lease.Lease{ID: 1, TTL: 10})
	for now := 9.0; now < 100; now += 9 {
		revoke, _ := d.Tick(sec(now))
		require.Empty(t, revoke, now)
		require.Equal(t, int64(10), d.Renew(sec(now), 1).TTLSeconds)
	}
	revoke, _ := d.Tick(sec(108.9))
	require.Empty(t, revoke)
	revoke, _ = d.Tick(sec(109))
	require.Equal(t, []int64{1}, revoke)
}

func TestExpiredTogetherAreRevokedInOrderAndInBounds(t *testing.T) {
	d := NewDeadlines()
	const n = 3*MaxRevokes + 10
	for i := range int64(n) {
		d.Set(0, lease.Lease{ID: (i * 7919) % n, TTL: 2})
	}
	var all []int64
	for range 4 {
		revoke, _ := d.Tick(sec(2))
		require.LessOrEqual(t, len(revoke), MaxRevokes)
		require.True(t, slices.IsSorted(revoke))
		all = append(all, revoke...)
	}
	require.Len(t, all, n)
	revoke, _ := d.Tick(sec(2))
	require.Empty(t, revoke)
}

func TestLeaseThatNobodyRenewsIsCheckpointed(t *testing.T) {
	d := NewDeadlines()
	d.Set(0, lease.Lease{ID: 1, TTL: 320})
	var at []float64
	var left []int64
	for now := 0.0; now < 60; now += 0.5 {
		_, cps := d.Tick(sec(now))
		for _, c := range cps {
			at, left = append(at, now), append(left, c.RemainingSeconds)
		}
	}
	require.Equal(t, []float64{10, 20, 30, 40, 50}, at)
	require.Equal(t, []int64{310, 300, 290, 280, 270}, left)

	// Its renewal has to take the checkpoint back; once that is applied, the next one need not.
	require.Equal(t, Renewal{TTLSeconds: 320, Known: true, Reset: true}, d.Renew(sec(60), 1))
	d.Set(sec(60), lease.Lease{ID: 1, TTL: 320})
	require.Equal(t, Renewal{TTLSeconds: 320, Known: true}, d.Renew(sec(61), 1))
	// One that is renewed all the time costs nothing.
	for now := 61.0; now < 2000; now += 100 {
		_, cps := d.Tick(sec(now))
		require.Empty(t, cps)
		d.Renew(sec(now), 1)
	}
}

func TestCheckpointsCarryDeadlinesOverARestart(t *testing.T) {
	old := NewDeadlines()
	old.Set(0, lease.Lease{ID: 1, TTL: 100})
	old.Set(0, lease.Lease{ID: 2, TTL: 100})
	left := map[int64]int64{}
	for now := 0.0; now <= 50; now += 0.5 {
		_, cps := old.Tick(sec(now))
		for _, c := range cps {
			left[c.ID] = c.RemainingSeconds
		}
	}
	table := []lease.Lease{{ID: 1, TTL: 100, RemainingSeconds: left[1]}, {ID: 2, TTL: 100}}
	fresh := NewDeadlines()
	fresh.Reset(sec(7), func(fn func(lease.Lease) bool) {
		for _, l := range table {
			if !fn(l) {
				return
			}
		}
	})
	rest, _ := fresh.Remaining(sec(7), 1)
	require.InDelta(t, 50, rest.Seconds(), 4) // the interval between checkpoints
	require.GreaterOrEqual(t, rest.Seconds(), 50.0, "a restart never ends a lease early")
	rest, _ = fresh.Remaining(sec(7), 2)
	require.Equal(t, sec(100), rest)

}

func TestCheckpointsAreBoundedAndAtLeastASecondApart(t *testing.T) {
	d := NewDeadlines()
	for i := range int64(2*MaxCheckpoints + 1) {
		d.Set(0, lease.Lease{ID: i, TTL: 20})
	}
	seen := map[int64]int{}
	for range 5 {
		_, cps := d.Tick(sec(1))
		require.LessOrEqual(t, len(cps), MaxCheckpoints)
		for _, c := range cps {
			seen[c.ID]++
		}
	}
	require.Len(t, seen, 2*MaxCheckpoints+1)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}

func TestLongestTTLDoesNotOverflow(t *testing.T) {
	d := NewDeadlines()
	d.Set(sec(3600*24*365*5), lease.Lease{ID: 1, TTL: lease.MaxTTL})
	left, _ := d.Remaining(sec(3600*24*365*5), 1)
	require.Equal(t, time.Duration(lease.MaxTTL)*time.Second, left)
	revoke, _ := d.Tick(sec(3600 * 24 * 365 * 6))
	require.Empty(t, revoke)
}

func TestFollowerKnowsTheDeadlinesWhenItComesToLead(t *testing.T) {
	d := NewDeadlines()
	d.Set(0, lease.Lease{ID: 1, TTL: 60})
	d.Set(0, lease.Lease{ID: 2, TTL: 60})
	d.Set(0, lease.Lease{ID: 3, TTL: 10})
	d.Renewed(sec(40), lease.Lease{ID: 2, TTL: 60}) // the log held it
	d.Lead(sec(50))
	for id, want := range map[int64]time.Duration{1: sec(10), 2: sec(50), 3: graceTime} {
		left, ok := d.Remaining(sec(50), id)
		require.True(t, ok)
		require.Equal(t, want, left, id)
	}
	revoke, _ := d.Tick(sec(50) + graceTime)
	require.Equal(t, []int64{3}, revoke)
	// Checkpoints are due anew, and no renewal moves a deadline back.
	_, cps := d.Tick(sec(52))
	require.Equal(t, []Checkpoint{{1, 8}, {2, 48}}, cps)
	require.Equal(t, Renewal{TTLSeconds: 60, Known: true}, d.Alive(sec(59), 1))
	require.Equal(t, Renewal{TTLSeconds: 60, Known: true, Expired: true}, d.Alive(sec(100), 2))
	require.Equal(t, Renewal{}, d.Alive(0, 9))
}

// A renewal is held up until the leader has asked for the end of the lease. It comes first in the log, but a later one
// would come behind the end.
func TestLeaseWhoseEndIsAskedForIsNotRenewed(t *testing.T) {
	d := NewDeadlines()
	d.Set(0, lease.Lease{ID: 1, TTL: 10})
	require.False(t, d.Alive(sec(5), 1).Expired)
	revoke, _ := d.Tick(sec(16))
	require.Equal(t, []int64{1}, revoke)
	d.Renewed(sec(16), lease.Lease{ID: 1, TTL: 10})
	require.True(t, d.Alive(sec(17), 1).Expired)
	require.True(t, d.Renew(sec(17), 1).Expired)
	// Nothing has come of the end: the proposal is lost by now.
	require.False(t, d.Alive(sec(16)+revokeRetry, 1).Expired)
}

// While the renewal of a lease is on its way through the log, its end must not be asked for, nor a checkpoint that says
// that little is left: either could come behind the renewal, which is answered all the same.
func TestNothingOvertakesARenewal(t *testing.T) {
	d := NewDeadlines()
	d.Set(0, lease.Lease{ID: 1, TTL: 10})
	d.Tick(sec(9.4))
	require.False(t, d.Alive(sec(9.5), 1).Expired)
	for now := 9.5; now < 13; now += 0.5 {
		revoke, cps := d.Tick(sec(now))
		require.Empty(t, revoke)
		require.Empty(t, cps)
	}
}
