package sim

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/wire"
)

// client does one operation at a time and writes down what it saw. An operation whose answer a crash has swallowed stays
// open to the end: it may or may not have had its effect.
type client struct {
	w    *world
	m    *member
	id   int
	ops  []operation
	busy int // life of the member in which the running operation was begun, 0 if none
	n    int
}

// operation is one entry of a client's history.
type operation struct {
	call, ret time.Duration
	open      bool // never answered
	in        input
	out       output
}

type input struct {
	kind  string // get, put, delete, cas
	key   string
	value string // put, cas: the new value
	rev   int64  // cas: the mod revision that is expected
}

type output struct {
	value string // get: what was there, "" if nothing
	rev   int64  // get: its mod revision; put: the new one; others: the store's
	ok    bool   // cas: whether it took effect; delete: whether there was something
}

func (c *client) key() string { return fmt.Sprintf("k%d", c.w.rng.IntN(4)) }

// run begins the next operation when the last one is over, for as long as the world turns.
func (c *client) run() {
	c.w.after(c.w.between(time.Millisecond, 40*time.Millisecond), c.run)
	if !c.m.up || !c.m.ready {
		return
	}
	if c.busy == c.m.life {
		return
	}
	if c.busy != 0 {
		c.ops[len(c.ops)-1].open = true // the member crashed under it
	}
	c.busy = c.m.life
	c.begin()
}

func (c *client) begin() {
	c.n++
	in := input{key: c.key(), value: fmt.Sprintf("c%d.%d", c.id, c.n)}
	i := len(c.ops)
	c.ops = append(c.ops, operation{call: c.w.now})
	finish := func(out output) {
		c.busy = 0
		c.ops[i].ret, c.ops[i].out = c.w.now, out
	}
	switch p := c.w.rng.IntN(10); {
	case p < 4:
		in.kind, in.value = "get", ""
		c.get(in.key, finish)
	case p < 7:
		in.kind = "put"
		c.m.propose(wire.KindPut, &pb.PutRequest{Key: []byte(in.key), Value: []byte(in.value)}, func(r machine.Result) {
			finish(output{rev: r.Rev})
		})
	case p < 8:
		in.kind, in.value = "delete", ""
		c.m.propose(wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte(in.key)}, func(r machine.Result) {
			finish(output{rev: r.Rev, ok: r.Deleted > 0})
		})
	default:
		in.kind = "cas"
		if kv := c.m.machine.View().KV.Get(in.key); kv != "" && c.w.chance(80) {
			in.rev = kv.ModRevision()
		}
		c.m.propose(wire.KindTxn, casRequest(in), func(r machine.Result) {
			out := output{rev: r.Rev}
			if r.Txn != nil {
				out.ok = r.Txn.Succeeded
			}
			finish(out)
		})
	}
	c.ops[i].in = in
	if err := c.m.pump(); err != nil {
		panic(failure{err})
	}
}

func casRequest(in input) *pb.TxnRequest {
	return &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte(in.key), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: in.rev}}},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(in.key), Value: []byte(in.value)}}}},
		Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(in.key)}}}},
	}
}

// get reads linearizably, by a read index as a member of a larger cluster would or, as the only voter, from the view.
func (c *client) get(key string, finish func(output)) {
	answer := func() error {
		var out output
		if kv := c.m.view().KV.Get(key); kv != "" {
			f := kv.Fields()
			out = output{value: f.Value, rev: f.ModRevision}
		}
		finish(out)
		return nil
	}
	if c.w.chance(50) {
		c.m.later(c.w.between(0, time.Millisecond), answer)
		return
	}
	c.m.readTicket++
	c.m.reads[c.m.readTicket] = answer
	c.m.node.Read(node.ReadTicket(c.m.readTicket))
}

// history is what all clients saw, for porcupine.
func history(clients []*client, end time.Duration) (out []porcupine.Operation) {
	for _, c := range clients {
		for i, o := range c.ops {
			if o.ret == 0 || o.open {
				o.ret, o.out, o.open = end+1, output{}, true
				if o.in.kind == "get" {
					continue
				}
			}
			// A client's operations must not overlap for porcupine: an open one belongs to a client of its own.
			id := c.id
			if o.open {
				id = 1000*(c.id+1) + i
			}
			out = append(out, porcupine.Operation{ClientId: id, Input: o, Call: int64(o.call), Output: o.out, Return: int64(o.ret)})
		}
	}
	return out
}

// register is the value of one key as porcupine's model knows it.
type register struct {
	value string
	rev   int64
}

// keyModel says which answers one key may give. Keys are checked one by one; a revision never goes back.
var keyModel = porcupine.Model{
	Partition: func(ops []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		var keys []string
		for _, o := range ops {
			k := o.Input.(operation).in.key
			if byKey[k] == nil {
				keys = append(keys, k)
			}
			byKey[k] = append(byKey[k], o)
		}
		out := make([][]porcupine.Operation, 0, len(keys))
		for _, k := range keys {
			out = append(out, byKey[k])
		}
		return out
	},
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) {
		s, op, o := state.(register), in.(operation), out.(output)
		switch op.in.kind {
		case "get":
			return o.value == s.value && (s.value == "" || o.rev == s.rev || s.rev < 0), register{s.value, o.rev}
		case "put":
			if op.open {
				return true, register{op.in.value, -1}
			}
			return o.rev > s.rev, register{op.in.value, o.rev}
		case "delete":
			if op.open {
				return true, register{}
			}
			return o.ok == (s.value != ""), register{}
		case "cas":
			if op.open {
				if s.rev < 0 {
					return true, register{op.in.value, -1} // may have matched; see the note at matches
				}
				if matches(s, op.in) {
					return true, register{op.in.value, -1}
				}
				return true, s
			}
			if s.rev < 0 && o.ok {
				return true, register{op.in.value, o.rev}
			}
			if s.rev < 0 {
				return true, s
			}
			if o.ok != matches(s, op.in) {
				return false, s
			}
			if o.ok {
				return o.rev > s.rev, register{op.in.value, o.rev}
			}
			return true, s
		}
		return false, s
	},
	Equal: func(a, b any) bool { return a == b },
}

// matches evaluates a cas. After an open put the revision is not known (-1), and both outcomes are allowed.
func matches(s register, in input) bool {
	if s.value == "" {
		return in.rev == 0
	}
	return s.rev == in.rev
}
