package sim

import (
	"fmt"

	"github.com/anishathalye/porcupine"
	"go.etcd.io/raft/v3/raftpb"
)

// history is what all clients saw, for porcupine. Of operations that were never answered the log tells what became of
// them: those that are not in it have had no effect, the others took effect by the time that they were first applied.
func (s *system) history() (out []porcupine.Operation) {
	id := len(s.clients)
	for _, c := range s.clients {
		for _, op := range c.ops {
			if op == c.busy {
				op.open = true
			}
			o := porcupine.Operation{ClientId: c.id, Input: op.in, Call: int64(op.call), Output: op.out, Return: int64(op.ret)}
			switch {
			case op.open:
				s.rep.Open++
				at, ok := s.truth.firstApplied(op.request)
				if !ok {
					continue
				}
				r := s.truth.results[op.request]
				o.ClientId, o.Output, o.Return = id, resultOut(op.in, &r), int64(at)
				id++ // a client's operations do not overlap
			case op.request == 0:
				s.rep.Linearizable++
			}
			out = append(out, o)
		}
	}
	return out
}

// store is the state of all keys that clients share, as the model knows it.
type store struct {
	rev  int64
	keys [keyCount]register
}

// storeModel says which answers may be given, one operation at a time. The store's revision moves for others as well,
// but never back.
var storeModel = porcupine.Model{
	Init: func() any { return store{} },
	Step: func(state, in, out any) (bool, any) {
		s, op, o := state.(store), in.(input), out.(output)
		if o.rev < s.rev {
			return false, s
		}
		wrote := true // the operation has made a revision
		was := s.keys[op.key]
		switch op.kind {
		case opGet:
			wrote = false
			if o.state[op.key] != was {
				return false, s
			}
		case opAll:
			wrote = false
			if o.state != s.keys {
				return false, s
			}
		case opPut:
			s.keys[op.key] = register{op.value, o.rev}
		case opDelete:
			if wrote = o.ok; o.ok != (was.value != "") {
				return false, s
			}
			s.keys[op.key] = register{}
		case opCAS, opPair:
			if wrote = o.ok; o.ok != (was.rev == op.rev) {
				return false, s
			}
			if !o.ok {
				if o.state[op.key] != was {
					return false, s
				}
				break
			}
			s.keys[op.key] = register{op.value, o.rev}
			if op.kind == opPair {
				s.keys[op.two] = register{}
			}
		}
		if wrote && o.rev == s.rev {
			return false, s
		}
		s.rev = o.rev
		return true, s
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// explain looks for an operation that is not as the log says, to say more than that something is wrong.
func (s *system) explain() error {
	acknowledged := s.answers()
	for _, c := range s.clients {
		for _, op := range c.ops {
			if op.open || op.ret == 0 {
				continue
			}
			// The newest revision that somebody was told of before the operation began.
			var seen int64
			for _, a := range acknowledged {
				if a.at < int64(op.call) {
					seen = max(seen, a.rev)
				}
			}
			if op.out.rev < seen {
				return fmt.Errorf("client %d: %+v from %v to %v was answered with revision %d, but %d was known before",
					c.id, op.in, op.call, op.ret, op.out.rev, seen)
			}
			for i, r := range op.out.state {
				if op.in.kind != opAll && i != op.in.key || op.in.kind == opPut || op.in.kind == opDelete || op.out.ok {
					continue
				}
				if v, mod := s.truth.valueAt(keyName(i), op.out.rev); (register{v, mod}) != r {
					return fmt.Errorf("client %d: %+v from %v to %v has shown %+v for %s at revision %d, which was %q of revision %d",
						c.id, op.in, op.call, op.ret, r, keyName(i), op.out.rev, v, mod)
				}
			}
		}
	}
	return errUnexplained
}

type answered struct {
	at  int64
	rev int64
}

// answers are the revisions that became known, and when: by an answer or because a member had applied them.
func (s *system) answers() (out []answered) {
	for _, c := range s.clients {
		for _, op := range c.ops {
			if !op.open && op.ret != 0 {
				out = append(out, answered{int64(op.ret), op.out.rev})
			} else if at, ok := s.truth.firstApplied(op.request); ok && op.open {
				out = append(out, answered{int64(at), s.truth.results[op.request].Rev})
			}
		}
	}
	return out
}

// entries is the log as it was applied.
func (t *truth) entries() []*raftpb.Entry {
	out := make([]*raftpb.Entry, len(t.known))
	for i := range t.known {
		out[i] = t.known[i].entry
	}
	return out
}
