// Package sim runs a whole cluster in virtual time: one goroutine, a seeded source of chance, disks that lose what was
// not synced, a network that loses, repeats and delays, and clients whose histories are checked. It replaces host and
// peer and nothing else: node, machine, log and watch streams are the real ones.
//
// It must never read a clock or use a source of chance other than the seed: the same seed gives the same run, byte for
// byte.
//
// Map of the files: world is time; member, drive, disk, apply, install and proposal are what a host does with a node;
// network and faults are what goes wrong; client, observer, lease and membership are those who use the cluster; truth,
// check, state, leasecheck and history say what has to hold; plan draws a run from its seed; sabotage breaks the code on
// purpose.
package sim

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"time"
)

// world is virtual time and what is going to happen in it.
type world struct {
	rng   *rand.Rand
	now   time.Duration
	queue eventQueue
	seq   int
	trace uint64
	log   []string  // the last lines of the trace, for a failure's report
	out   io.Writer // every line of it, nil if nobody wants them
}

const traceLines = 300

func newWorld(seed uint64) *world {
	return &world{rng: rand.New(rand.NewPCG(seed, 0x73696d)), trace: 14695981039346656037}
}

// after runs f once d has passed.
func (w *world) after(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.queue, event{w.now + max(d, 0), w.seq, f})
}

// step runs the next event.
func (w *world) step() bool {
	if len(w.queue) == 0 {
		return false
	}
	e := heap.Pop(&w.queue).(event)
	w.now = e.at
	w.trace = (w.trace ^ uint64(e.at) ^ uint64(e.seq)<<40) * 1099511628211
	e.run()
	return true
}

// between is a chance duration.
func (w *world) between(lo, hi time.Duration) time.Duration { return lo + w.span(hi-lo) }

func (w *world) span(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(w.rng.Int64N(int64(d)))
}

// chance is true in percent of 100 cases.
func (w *world) chance(percent float64) bool { return w.rng.Float64()*100 < percent }

// pick chooses one of several things.
func pick[T any](w *world, from []T) T { return from[w.rng.IntN(len(from))] }

// note adds a line to the trace. The trace's hash stands for the whole run.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%12v ", w.now) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	_, _ = h.Write([]byte(line))
	w.trace = (w.trace ^ h.Sum64()) * 1099511628211
	if len(w.log) == traceLines {
		w.log = append(w.log[:0], w.log[1:]...)
	}
	w.log = append(w.log, line)
	if w.out != nil {
		_, _ = fmt.Fprintln(w.out, line)
	}
}

// detail is a note that nobody but a reader of the whole trace wants.
func (w *world) detail(format string, args ...any) {
	if w.out != nil {
		_, _ = fmt.Fprintf(w.out, "%12v "+format+"\n", append([]any{w.now}, args...)...)
	}
}

type event struct {
	at  time.Duration
	seq int // events at the same time run in the order in which they were made
	run func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	if q[i].at != q[j].at {
		return q[i].at < q[j].at
	}
	return q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
