package host

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	maxApplyGap   = 5000      // committed and not yet applied entries above which requests are refused
	maxQueueBytes = 256 << 20 // commands that wait to be proposed
	maxQueue      = 100_000
)

// proposals are the commands that wait to be proposed, and the tickets of those that wait for their effect.
type proposals struct {
	base    uint64
	counter atomic.Uint64
	maxSize int
	pool    sync.Pool
	wake    chan struct{}

	mu      sync.Mutex
	queue   []proposal
	bytes   int
	tickets map[uint64]*ticket
	closed  error
}

// proposal is a command that waits to be proposed; nobody may be waiting for it.
type proposal struct {
	cmd    []byte
	ticket *ticket
}

// ticket is one caller's wait for the effect of its command.
type ticket struct {
	done            chan struct{}
	res             machine.Result
	since, deadline time.Duration
	cmd             []byte
	term            uint64 // the command was proposed in; 0 while it waits to be
}

func (p *proposals) init(id cluster.ID, maxSize int) {
	// etcd's form: the member, the start time, a counter. IDs of one member never repeat.
	p.base = uint64(id)<<48 | (uint64(time.Now().UnixMilli())&(1<<40-1))<<8
	p.maxSize = maxSize
	p.tickets = map[uint64]*ticket{}
	p.wake = make(chan struct{}, 1)
	p.pool.New = func() any { return &ticket{done: make(chan struct{}, 1)} }
}

func (p *proposals) nextID() uint64 { return p.base + p.counter.Add(1) }

// Propose puts a command into the log and waits for its effect. The error is the command's own refusal, or tells that
// its outcome is not known.
func (h *Host) Propose(ctx context.Context, kind wire.Kind, body []byte) (machine.Result, error) {
	return h.ProposeAs(ctx, auth.Identity{}, kind, body)
}

// ProposeAs is Propose for a command that comes from somebody.
func (h *Host) ProposeAs(ctx context.Context, id auth.Identity, kind wire.Kind, body []byte) (machine.Result, error) {
	if err := ctx.Err(); err != nil {
		return machine.Result{}, err
	}
	if kind == wire.KindV2 {
		if id, lacks := h.peers.LacksV2(); lacks {
			return machine.Result{}, fmt.Errorf("cairn: member %s is an etcd without the v2 API, which an entry of it would end: replace it first", id)
		}
	}
	if err := h.wouldDiverge(kind, body); err != nil {
		return machine.Result{}, err
	}
	p := &h.queue
	c := wire.Command{ID: p.nextID(), Kind: kind, Body: body, User: id.User, AuthRevision: id.Revision}
	n := wire.CommandSize(&c)
	if n > p.maxSize {
		return machine.Result{}, wire.ErrRequestTooLarge
	}
	if err := h.Failed(); err != nil {
		return machine.Result{}, err
	}
	if h.commit.Load() > h.machine().View().Applied+maxApplyGap {
		return machine.Result{}, wire.ErrTooManyRequests
	}
	t := h.ticket()
	if err := p.add(c.ID, wire.AppendCommand(make([]byte, 0, n), &c), t); err != nil {
		return machine.Result{}, err
	}
	return h.await(t)
}

func (h *Host) ticket() *ticket {
	t := h.queue.pool.Get().(*ticket)
	t.since = h.now()
	t.deadline = t.since + h.RequestTimeout()
	return t
}

// await waits for the effect of a command.
func (h *Host) await(t *ticket) (machine.Result, error) {
	// The wait is not ended by ctx: the ticket is answered within the request timeout in any case, and a channel alone
	// is cheaper to wait for. A client that has gone does not notice.
	<-t.done
	res := t.res
	if o, unknown := res.Err.(*outcome); unknown {
		h.cfg.Metrics.ProposalsFailed.Inc()
		return machine.Result{}, o.err // the ticket may still be in the queue
	}
	t.res, t.cmd, t.term = machine.Result{}, nil, 0
	h.queue.pool.Put(t)
	return res, res.Err
}

// outcome marks an error that says nothing about the command's effect.
type outcome struct{ err error }

func (o *outcome) Error() string { return o.err.Error() }

// ProposeMessage is Propose for a message.
func (h *Host) ProposeMessage(ctx context.Context, kind wire.Kind, m proto.Message) (machine.Result, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return machine.Result{}, err
	}
	return h.Propose(ctx, kind, body)
}

func (p *proposals) add(id uint64, b []byte, t *ticket) error {
	p.mu.Lock()
	if p.closed != nil {
		p.mu.Unlock()
		return wire.ErrStopped
	}
	if len(p.queue) >= maxQueue || p.bytes+len(b) > maxQueueBytes {
		p.mu.Unlock()
		return wire.ErrTooManyRequests
	}
	p.queue = append(p.queue, proposal{b, t})
	p.bytes += len(b)
	if t != nil {
		t.cmd = b
		p.tickets[id] = t
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	return nil
}

// take moves the waiting commands out, to be proposed in a term.
func (p *proposals) take(term uint64) []proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.queue
	p.queue, p.bytes = nil, 0
	for _, x := range q {
		if x.ticket != nil {
			x.ticket.term = term
		}
	}
	return q
}

// putBack returns commands that could not be proposed yet.
func (p *proposals) putBack(q []proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = append(q, p.queue...)
	for _, x := range q {
		p.bytes += len(x.cmd)
		if x.ticket != nil {
			x.ticket.term = 0
		}
	}
}

// again queues what was proposed in terms before this one and has had no effect: everything that those terms committed
// has been applied, so it never will have any.
func (p *proposals) again(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []uint64
	for id, t := range p.tickets {
		if t.term != 0 && t.term < term && t.cmd != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	for _, id := range ids {
		t := p.tickets[id]
		t.term = 0
		p.queue = append(p.queue, proposal{t.cmd, t})
		p.bytes += len(t.cmd)
	}
	if len(ids) > 0 {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// lost fails what was proposed: whether it has taken effect cannot be told any more.
func (p *proposals) lost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range p.tickets {
		if t.term != 0 || t.cmd == nil {
			delete(p.tickets, id)
			t.res.Err = &outcome{err}
			t.done <- struct{}{}
		}
	}
}

// pending is the number of callers that wait.
func (p *proposals) pending() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.tickets)
}

// deliver answers the tickets of the results.
func (p *proposals) deliver(results []machine.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range results {
		if t := p.tickets[results[i].ID]; t != nil {
			delete(p.tickets, results[i].ID)
			t.res = results[i]
			t.done <- struct{}{}
		}
	}
}

// expire fails tickets that have waited too long: whether their commands take effect is open. why is told when the
// command was proposed.
func (p *proposals) expire(now time.Duration, why func(since time.Duration) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, t := range p.tickets {
		if t.deadline <= now {
			delete(p.tickets, id)
			t.res.Err = &outcome{why(t.since)}
			t.done <- struct{}{}
		}
	}
}

// awaits reports whether somebody waits for the effect of a command.
func (p *proposals) awaits(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tickets[id] != nil
}

// failAll fails every ticket, and those to come if the host stops.
func (p *proposals) failAll(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == ErrStopping {
		p.closed, err = err, wire.ErrStopped
	}
	p.queue, p.bytes = nil, 0
	for id, t := range p.tickets {
		delete(p.tickets, id)
		t.res.Err = &outcome{err}
		t.done <- struct{}{}
	}
}

// HasSpace reports whether the database may grow by cost bytes. If it may not, it raises the NOSPACE alarm.
func (h *Host) HasSpace(ctx context.Context, cost int) bool {
	if cost == 0 {
		return true
	}
	if !h.noSpace.Load() && (h.cfg.QuotaBytes <= 0 || h.size.Load()+int64(cost) < h.cfg.QuotaBytes) {
		return true
	}
	for _, a := range h.View().Alarms {
		if a.Type == pb.AlarmType_NOSPACE && a.Member == h.cfg.MemberID {
			return false
		}
	}
	h.cfg.Logger.Warn("database space exceeded, raising alarm", "size", h.size.Load(), "quota", h.cfg.QuotaBytes, "disk-full", h.noSpace.Load())
	_, err := h.ProposeMessage(ctx, wire.KindAlarm, &pb.AlarmRequest{
		Action: pb.AlarmRequest_ACTIVATE, MemberID: uint64(h.cfg.MemberID), Alarm: pb.AlarmType_NOSPACE})
	if err != nil {
		h.cfg.Logger.Warn("failed to raise alarm", "alarm", "NOSPACE", "error", err.Error())
	}
	return false
}
