package peer

import (
	"math"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Appends are the figures of append messages, which /v2/stats shows.
type Appends struct {
	Sent, Received Traffic
	Followers      map[cluster.ID]Follower // those that any was sent to
}

// Traffic is how many messages there were, and how many come in a second, and bytes. A rate that is not known is 0.
type Traffic struct {
	Count           uint64
	Rate, Bandwidth float64
}

// Follower is how sending to a member goes: how long it takes to write a message, in milliseconds.
type Follower struct {
	Success, Fail                                 uint64
	Current, Average, Deviation, Minimum, Maximum float64
}

const (
	// rateWindow is over how many messages rates are taken (S-04).
	rateWindow = 200
	// rateFresh is how old the last of them may be.
	rateFresh = time.Second
)

// traffic counts messages. Any goroutine may use it.
type traffic struct {
	mu    sync.Mutex
	count uint64
	at    [rateWindow]time.Time // a ring; the last of count is at (count-1) % rateWindow
	bytes [rateWindow]int
}

// add counts messages that came or went together.
func (t *traffic) add(messages, bytes int, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range messages {
		share := bytes / messages
		if i == 0 {
			share += bytes % messages
		}
		slot := t.count % rateWindow
		t.at[slot], t.bytes[slot] = now, share
		t.count++
	}
}

func (t *traffic) get(now time.Time) Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := Traffic{Count: t.count}
	n := min(t.count, rateWindow)
	if n == 0 {
		return out
	}
	last, first := t.at[(t.count-1)%rateWindow], t.at[(t.count-n)%rateWindow]
	over := last.Sub(first).Seconds()
	if now.Sub(last) > rateFresh || over <= 0 {
		return out
	}
	total := 0
	for i := range n {
		total += t.bytes[i]
	}
	out.Rate, out.Bandwidth = float64(n)/over, float64(total)/over
	return out
}

// pace is how sending appends to one peer goes.
type pace struct {
	mu      sync.Mutex
	f       Follower
	squares float64 // the average of
}

func (p *pace) sent(messages int, took time.Duration) {
	ms := float64(took) / float64(time.Millisecond)
	p.mu.Lock()
	defer p.mu.Unlock()
	f := &p.f
	if f.Success == 0 || ms < f.Minimum {
		f.Minimum = ms
	}
	f.Current, f.Maximum = ms, max(f.Maximum, ms)
	before, n := float64(f.Success), float64(messages)
	f.Success += uint64(messages)
	f.Average = (f.Average*before + ms*n) / (before + n)
	p.squares = (p.squares*before + ms*ms*n) / (before + n)
	f.Deviation = math.Sqrt(max(0, p.squares-f.Average*f.Average))
}

func (p *pace) failed(messages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.f.Fail += uint64(messages)
}

func (p *pace) get() Follower {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.f
}

// appended counts append messages that were written together, or were not because of an error.
func (p *peer) appended(messages, bytes int, began time.Time, err error) {
	if messages == 0 {
		return
	}
	if err != nil {
		p.pace.failed(messages)
		return
	}
	now := time.Now()
	p.pace.sent(messages, now.Sub(began))
	p.t.sent.add(messages, bytes, now)
}

func isAppend(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgApp }

// Appends tells how append messages come and go.
func (t *Transport) Appends() Appends {
	now := time.Now()
	out := Appends{Sent: t.sent.get(now), Received: t.received.get(now), Followers: map[cluster.ID]Follower{}}
	for id, p := range *t.peers.Load() {
		if f := p.pace.get(); f.Success+f.Fail > 0 {
			out.Followers[id] = f
		}
	}
	return out
}
