package tree

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/wire"
)

// Action is what an event was.
type Action uint8

// The actions (v2-http.md section 5).
const (
	Get Action = iota
	Set
	Create
	Update
	Delete
	CompareAndSwap
	CompareAndDelete
	Expire
	// Internal stands for a change that takes an index and that no client sees: of the members, or of users and roles.
	Internal
)

var actions = [...]string{"get", "set", "create", "update", "delete", "compareAndSwap", "compareAndDelete", "expire", "internal"}

func (a Action) String() string { return actions[a] }

// Removes reports whether what is under the node goes with it.
func (a Action) Removes() bool { return a == Delete || a == CompareAndDelete || a == Expire }

// Event is one change. It never changes itself and is shared by all that watch.
type Event struct {
	Action  Action
	Index   uint64
	Node    *Node // as it is now; for what was removed without its value
	Prev    *Node // as it was; nil if there was none
	Refresh bool  // only the time to live was changed: nobody is told
	Time    int64 // when it was asked for, in nanoseconds of unix time, which times to live are counted from; 0 if nobody knows

	before *nodes // of a directory that was removed
}

// Existed reports whether a node was there before the event. Only an event that was just made knows; one from history takes
// every node under a removed directory for one that existed.
func (e *Event) Existed(path string) bool {
	if e.before == nil {
		return true
	}
	_, ok := e.before.Get(&Node{Path: path})
	return ok
}

// Matches reports whether who watches a path is told of the event (v2-http.md section 7.2).
func (e *Event) Matches(path string, recursive bool) bool {
	if e.Refresh || e.Action == Internal {
		return false
	}
	p := e.Node.Path
	switch {
	case p == path:
		return true
	case below(p, path):
		return recursive && !Hidden(p, path)
	case e.Action.Removes() && e.Node.Dir && below(path, p):
		return e.Existed(path)
	}
	return false
}

func (e *Event) append(b []byte) []byte {
	b = wire.AppendUint(b, 1, uint64(e.Action))
	for i, n := range []*Node{e.Node, e.Prev} {
		if n == nil {
			continue
		}
		b = protowire.AppendTag(b, protowire.Number(2+2*i), protowire.BytesType)
		b = protowire.AppendString(b, n.Path)
		b = protowire.AppendTag(b, protowire.Number(3+2*i), protowire.BytesType)
		b = protowire.AppendBytes(b, n.append(nil))
	}
	if e.Refresh {
		b = wire.AppendUint(b, 6, 1)
	}
	b = wire.AppendUint(b, 7, e.Index)
	return wire.AppendUint(b, 8, uint64(e.Time))
}

func parseEvent(b []byte) (*Event, error) {
	e := &Event{}
	var path string
	for len(b) > 0 {
		num, typ, k := protowire.ConsumeTag(b)
		if k < 0 {
			return nil, errMalformed
		}
		b = b[k:]
		if typ == protowire.VarintType {
			v, k := protowire.ConsumeVarint(b)
			if k < 0 {
				return nil, errMalformed
			}
			b = b[k:]
			switch num {
			case 1:
				if v > uint64(Internal) {
					return nil, errMalformed
				}
				e.Action = Action(v)
			case 6:
				e.Refresh = v != 0
			case 7:
				e.Index = v
			case 8:
				e.Time = int64(v)
			}
			continue
		}
		if typ != protowire.BytesType {
			return nil, errMalformed
		}
		v, k := protowire.ConsumeBytes(b)
		if k < 0 {
			return nil, errMalformed
		}
		b = b[k:]
		switch num {
		case 2, 4:
			path = string(v)
		case 3, 5:
			n, err := parseNode(path, v)
			if err != nil {
				return nil, err
			}
			if num == 3 {
				e.Node = n
			} else {
				e.Prev = n
			}
		}
	}
	if e.Index == 0 || e.Node == nil && e.Action != Internal {
		return nil, errMalformed
	}
	return e, nil
}
