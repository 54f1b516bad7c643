package node

import (
	"container/heap"
	"time"

	"github.com/cairn-kv/cairn/internal/lease"
)

// Deadlines watches when leases end. It is given the time. Every member watches, so that whoever comes to lead knows;
// only a leader acts on it, by proposing what Tick hands back.
//
// What members see in the log they count from the moment they apply it. So where there are several members a renewal
// goes through the log before it is answered. A member on its own renews without: Renew tells when that is not enough.
//
// How long a lease has left survives a restart through checkpoints, which the leader proposes for leases that nobody
// renews: a renewed lease is at its full TTL anyway and costs nothing. The renewal of a lease that was checkpointed has
// to take the checkpoint back before it is answered, or a crash could end the lease early.
type Deadlines struct {
	leases map[int64]*deadline
	queue  deadlineQueue
}

type deadline struct {
	lease      lease.Lease
	ends       time.Duration
	checkpoint time.Duration // when the next one is due
	retry      time.Duration // of a revoke under way, 0 if none
	wake       time.Duration // place in the queue
	pos        int
}

const (
	// MaxRevokes bounds the revokes that one Tick asks for, MaxCheckpoints the checkpoints.
	MaxRevokes     = 500
	MaxCheckpoints = 1000
	revokeRetry    = 7 * time.Second
	minCheckpoint  = time.Second
	maxCheckpoint  = 5 * time.Minute
	graceTime      = 500 * time.Millisecond
)

// Checkpoint is what a leader says is left of a lease.
type Checkpoint struct{ ID, RemainingSeconds int64 }

// NewDeadlines returns an empty table.
func NewDeadlines() *Deadlines { return &Deadlines{leases: map[int64]*deadline{}} }

// Reset starts over with the leases of a machine that was just opened.
func (d *Deadlines) Reset(now time.Duration, each func(func(lease.Lease) bool)) {
	d.leases = map[int64]*deadline{}
	d.queue = nil
	each(func(l lease.Lease) bool {
		d.Set(now, l)
		return true
	})
}

// Lead begins to act: this member has become the leader. A lease that ended while nobody led, or is about to, is given
// graceTime, in which its holder may find the new leader.
func (d *Deadlines) Lead(now time.Duration) {
	for _, e := range d.queue {
		e.ends = max(e.ends, now+graceTime)
		e.checkpoint = now + checkpointInterval(e.lease.TTL)
		e.retry = 0
		e.wake = min(e.ends, e.checkpoint)
	}
	heap.Init(&d.queue)
}

// Set takes note of a lease that was granted or checkpointed. A checkpoint does not move the deadline of a lease that is
// watched already.
func (d *Deadlines) Set(now time.Duration, l lease.Lease) {
	if e, ok := d.leases[l.ID]; ok {
		e.lease = l
		return
	}
	left := l.TTL
	if l.RemainingSeconds > 0 {
		left = l.RemainingSeconds
	}
	e := &deadline{lease: l, ends: now + seconds(left)}
	e.checkpoint = now + checkpointInterval(l.TTL)
	e.wake = min(e.ends, e.checkpoint)
	d.leases[l.ID] = e
	heap.Push(&d.queue, e)
}

// Renewed takes note of a renewal that the log holds.
func (d *Deadlines) Renewed(now time.Duration, l lease.Lease) {
	d.Set(now, l)
	d.leases[l.ID].renew(now)
}

// renew leaves the queue as it is: Tick finds out that there is nothing to do yet.
func (e *deadline) renew(now time.Duration) {
	e.ends = max(e.ends, now+seconds(e.lease.TTL))
	e.checkpoint = now + max(seconds(e.lease.TTL)/5*2, minCheckpoint)
}

// over reports whether the lease's time is over, or its end was asked for: a renewal that was under way by then may be
// in the log before that, but no later one is of use.
func (e *deadline) over(now time.Duration) bool { return now >= e.ends || now < e.retry }

// Forget drops a lease that was revoked.
func (d *Deadlines) Forget(id int64) {
	if e, ok := d.leases[id]; ok {
		heap.Remove(&d.queue, e.pos)
		delete(d.leases, id)
	}
}

// Renewal is the outcome of Renew.
type Renewal struct {
	TTLSeconds int64
	Known      bool
	Expired    bool // its time is over: the revoke is on its way
	Reset      bool // a checkpoint has to be taken back before the renewal may be answered
}

// Renew gives a lease its full TTL again, on a member that is alone.
func (d *Deadlines) Renew(now time.Duration, id int64) Renewal {
	e, ok := d.leases[id]
	if !ok {
		return Renewal{}
	}
	if e.over(now) {
		return Renewal{Known: true, Expired: true}
	}
	e.renew(now)
	return Renewal{TTLSeconds: e.lease.TTL, Known: true, Reset: e.lease.RemainingSeconds > 0}
}

// Alive tells of a lease that is about to be renewed through the log. Its time may be over. If it is not, the lease has
// its full TTL again here: what this member asks for as the leader must not come between the renewal and its answer. A
// member that leads no more by the time of the renewal asks for nothing.
func (d *Deadlines) Alive(now time.Duration, id int64) (r Renewal) {
	if e, ok := d.leases[id]; ok {
		r = Renewal{TTLSeconds: e.lease.TTL, Known: true, Expired: e.over(now)}
		if !r.Expired {
			e.renew(now)
		}
	}
	return r
}

// Remaining is how long the lease has left, negative once it is over.
func (d *Deadlines) Remaining(now time.Duration, id int64) (time.Duration, bool) {
	e, ok := d.leases[id]
	if !ok {
		return 0, false
	}
	return e.ends - now, true
}

// Len is the number of leases watched.
func (d *Deadlines) Len() int { return len(d.leases) }

// Tick returns the leases to revoke and the checkpoints to take, at most MaxRevokes and MaxCheckpoints of them.
func (d *Deadlines) Tick(now time.Duration) (revoke []int64, checkpoints []Checkpoint) {
	for len(d.queue) > 0 && d.queue[0].wake <= now && len(revoke) < MaxRevokes && len(checkpoints) < MaxCheckpoints {
		e := d.queue[0]
		switch {
		case e.ends <= now:
			if e.retry <= now {
				revoke = append(revoke, e.lease.ID)
				e.retry = now + revokeRetry
			}
			e.wake = e.retry
		case e.checkpoint <= now:
			left := int64((e.ends - now + time.Second - 1) / time.Second)
			checkpoints = append(checkpoints, Checkpoint{e.lease.ID, left})
			// Noted at once: a renewal that comes before the entry is applied has to take it back as well.
			e.lease.RemainingSeconds = left
			e.checkpoint = now + checkpointInterval(e.lease.TTL)
			e.wake = min(e.ends, e.checkpoint)
		default:
			e.wake = min(e.ends, e.checkpoint)
		}
		heap.Fix(&d.queue, e.pos)
	}
	return revoke, checkpoints
}

func checkpointInterval(ttlSeconds int64) time.Duration {
	return min(max(seconds(ttlSeconds)/32, minCheckpoint), maxCheckpoint)
}

// seconds converts a TTL. The largest TTL is some 285 years and fits, with room for the age of a process.
func seconds(s int64) time.Duration { return time.Duration(min(s, lease.MaxTTL)) * time.Second }

// deadlineQueue orders by wake time, then by ID so that equal input gives equal output.
type deadlineQueue []*deadline

func (q deadlineQueue) Len() int { return len(q) }
func (q deadlineQueue) Less(i, j int) bool {
	if q[i].wake != q[j].wake {
		return q[i].wake < q[j].wake
	}
	return q[i].lease.ID < q[j].lease.ID
}
func (q deadlineQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].pos, q[j].pos = i, j
}
func (q *deadlineQueue) Push(x any) {
	e := x.(*deadline)
	e.pos = len(*q)
	*q = append(*q, e)
}
func (q *deadlineQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return e
}
