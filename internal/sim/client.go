package sim

import (
	"fmt"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// client does one operation at a time, at any member, and writes down what it saw. An operation whose answer a crash has
// swallowed, or that takes too long, stays open: it may or may not have its effect, at any time later.
type client struct {
	s    *system
	w    *world
	m    *member // asked last
	id   int
	ops  []*operation
	busy *operation
	life int // of the member, in which the running operation was begun
	n    int
}

// operation is one entry of a client's history.
type operation struct {
	client    int
	call, ret time.Duration
	open      bool // never answered
	request   uint64
	in        input
	out       output
}

// keyCount is how many keys the clients share.
const keyCount = 5

type input struct {
	kind     opKind
	key, two int // two: the other key of a pair
	value    string
	rev      int64 // the mod revision that is expected of key
}

type opKind string

// What clients do.
const (
	opGet    opKind = "get"
	opAll    opKind = "all" // reads all keys at once
	opPut    opKind = "put"
	opDelete opKind = "delete"
	opCAS    opKind = "cas"  // puts if the key is at a revision, reads it otherwise
	opPair   opKind = "pair" // puts one key and deletes another if the first is at a revision
)

type output struct {
	rev   int64              // the store's, as the header shows it
	ok    bool               // cas, pair: it has taken effect; delete: there was something
	state [keyCount]register // what was read; only what the operation reads
}

// register is the value of one key, and the revision that made it.
type register struct {
	value string
	rev   int64
}

func keyName(i int) string { return fmt.Sprintf("k%d", i) }

// run begins the next operation when the last one is over, for as long as the world turns.
func (c *client) run() {
	if c.s.calm {
		return
	}
	c.w.after(c.w.between(time.Millisecond, 2*c.s.plan.think), c.run)
	if c.busy != nil {
		if c.m.life == c.life && c.w.now-c.busy.call < requestTimeout {
			return
		}
		c.busy.open = true
		c.busy = nil
	}
	m := c.s.anyone(c.m)
	if m == nil {
		return
	}
	c.m, c.life = m, m.life
	if c.w.chance(15) {
		m.enter(m.life, func() error { c.peek(m); return nil })
		return
	}
	c.n++
	op := &operation{client: c.id, call: c.w.now, in: c.draw()}
	c.ops = append(c.ops, op)
	c.busy = op
	m.enter(m.life, func() error {
		c.begin(m, op)
		return m.pump()
	})
}

// draw chooses an operation.
func (c *client) draw() input {
	in := input{key: c.w.rng.IntN(keyCount), value: fmt.Sprintf("c%d.%d", c.id, c.n)}
	in.two = (in.key + 1 + c.w.rng.IntN(keyCount-1)) % keyCount
	switch p := c.w.rng.IntN(100); {
	case p < 30:
		in.kind, in.value = opGet, ""
	case p < 36:
		in.kind, in.value = opAll, ""
	case p < 66:
		in.kind = opPut
	case p < 76:
		in.kind, in.value = opDelete, ""
	case p < 90:
		in.kind = opCAS
	default:
		in.kind = opPair
	}
	return in
}

func (c *client) begin(m *member, op *operation) {
	in := &op.in
	key := []byte(keyName(in.key))
	switch in.kind {
	case opGet, opAll:
		m.read(func(v *machine.View) { c.answer(op, readOut(*in, v)) })
		return
	case opPut:
		op.request = m.propose(wire.KindPut, &pb.PutRequest{Key: key, Value: []byte(in.value)}, c.result(op))
	case opDelete:
		op.request = m.propose(wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: key}, c.result(op))
	default:
		if kv := m.machine.View().KV.Get(keyName(in.key)); kv != "" && c.w.chance(85) {
			in.rev = kv.ModRevision()
		}
		op.request = m.propose(wire.KindTxn, txnRequest(in), c.result(op))
	}
}

func (c *client) result(op *operation) func(machine.Result) {
	return func(r machine.Result) {
		c.answer(op, resultOut(op.in, &r))
	}
}

// answer closes an operation.
func (c *client) answer(op *operation, out output) {
	if c.busy != op || op.open {
		return // it comes too late
	}
	c.busy = nil
	op.ret, op.out = c.w.now, out
	c.w.detail("c%d %s %d at %v, from %v: %+v", c.id, op.in.kind, op.in.key, c.m, op.call, op.out)
}

func readOut(in input, v *machine.View) (out output) {
	out.rev = v.KV.Rev()
	for i := range keyCount {
		if in.kind == opAll || i == in.key {
			if kv := v.KV.Get(keyName(i)); kv != "" {
				f := kv.Fields()
				out.state[i] = register{f.Value, f.ModRevision}
			}
		}
	}
	return out
}

func resultOut(in input, r *machine.Result) output {
	out := output{rev: r.Rev, ok: r.Deleted > 0}
	if r.Txn == nil {
		return out
	}
	out.ok = r.Txn.Succeeded
	if !out.ok {
		for _, kv := range r.Txn.Ops[0].Range.KVs {
			f := kv.Fields()
			out.state[in.key] = register{f.Value, f.ModRevision}
		}
	}
	return out
}

func txnRequest(in *input) *pb.TxnRequest {
	key := []byte(keyName(in.key))
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(in.value)}}}
	q := &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: in.rev}}},
		Success: []*pb.RequestOp{put},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}},
	}
	if in.kind == opPair {
		del := &pb.DeleteRangeRequest{Key: []byte(keyName(in.two))}
		q.Success = append(q.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}})
	}
	return q
}

// peek reads what the member has at hand: an earlier state, perhaps, but never one earlier than it has shown before in
// this life, and one that was.
func (c *client) peek(m *member) {
	v := m.machine.View()
	c.s.rep.Serializable++
	rev := v.KV.Rev()
	if rev < m.shown {
		fail("serializable", "%v shows revision %d, and has shown %d before", m, rev, m.shown)
	}
	m.shown = rev
	for i := range keyCount {
		var got register
		if kv := v.KV.Get(keyName(i)); kv != "" {
			f := kv.Fields()
			got = register{f.Value, f.ModRevision}
		}
		if value, mod := c.s.truth.valueAt(keyName(i), rev); got != (register{value, mod}) {
			fail("serializable", "%v shows %+v for %s at revision %d, which was %q of revision %d", m, got, keyName(i), rev, value, mod)
		}
	}
}

// lastReads reads everything through every member, now that the cluster is whole.
func (s *system) lastReads() {
	c := &client{s: s, w: s.w, id: len(s.clients)}
	s.clients = append(s.clients, c)
	for _, m := range s.present() {
		c.m = m
		op := &operation{client: c.id, call: s.w.now, in: input{kind: opAll}}
		c.ops = append(c.ops, op)
		c.busy = op
		m.enter(m.life, func() error {
			c.begin(m, op)
			return m.pump()
		})
		left := func() bool { return !slices.Contains(s.present(), m) } // a change that was under way has removed it
		if !s.until(requestTimeout, func() bool { return c.busy == nil || left() }) {
			fail("whole again", "%v does not answer a read", m)
		}
		op.open = c.busy == op
	}
}
