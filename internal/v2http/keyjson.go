package v2http

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/cairn-kv/cairn/internal/tree"
)

// The JSON of the v2 API is made by hand: the order of its fields and what is left out are part of the contract
// (v2-http.md sections 1.3 and 5), and it is on the way of every request.

// appendString appends a JSON string, escaped as Go does.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			q, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string has a JSON form
			}
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// object begins fields with a brace or a comma.
type object struct {
	b    []byte
	some bool
}

func (o *object) field(name string) {
	if o.some {
		o.b = append(o.b, ',')
	} else {
		o.b = append(o.b, '{')
	}
	o.some = true
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) end() []byte {
	if !o.some {
		o.b = append(o.b, '{')
	}
	return append(o.b, '}')
}

// appendNode appends a node as it is at a moment. children, if not nil, appends the array of what is in it, and reports whether
// there is anything.
func appendNode(b []byte, n *tree.Node, value bool, now int64, children func([]byte) ([]byte, bool)) []byte {
	o := object{b: b}
	if n.Path != "/" {
		o.field("key")
		o.b = appendString(o.b, n.Path)
	}
	if value && !n.Dir {
		o.field("value")
		o.b = appendString(o.b, n.Value)
	}
	if n.Dir {
		o.field("dir")
		o.b = append(o.b, "true"...)
	}
	if n.Expires != 0 {
		o.field("expiration")
		o.b = append(o.b, '"')
		o.b = time.Unix(0, n.Expires).UTC().AppendFormat(o.b, time.RFC3339Nano)
		o.b = append(o.b, '"')
		if ttl := secondsUntil(n.Expires, now); ttl != 0 {
			o.field("ttl")
			o.b = strconv.AppendInt(o.b, ttl, 10)
		}
	}
	if children != nil {
		mark := len(o.b)
		some := o.some
		o.field("nodes")
		o.b = append(o.b, '[')
		var visible bool
		if o.b, visible = children(o.b); !visible {
			o.b, o.some = o.b[:mark], some // nothing visible
		} else {
			o.b = append(o.b, ']')
		}
	}
	for _, f := range []struct {
		name string
		v    uint64
	}{{"modifiedIndex", n.Modified}, {"createdIndex", n.Created}} {
		if f.v != 0 {
			o.field(f.name)
			o.b = strconv.AppendUint(o.b, f.v, 10)
		}
	}
	return o.end()
}

// secondsUntil is rounded up (T-02).
func secondsUntil(at, now int64) int64 {
	d := at - now
	s := d / int64(time.Second)
	if d%int64(time.Second) > 0 {
		s++
	}
	return s
}

// appendEvent appends an event as the writer and all watchers see it, with the times to live as they were then (W-11). now
// is for events of which nobody knows when they were.
func appendEvent(b []byte, e *tree.Event, now int64) []byte {
	if e.Time != 0 {
		now = e.Time
	}
	o := object{b: b}
	o.field("action")
	o.b = append(o.b, '"')
	o.b = append(o.b, e.Action.String()...)
	o.b = append(o.b, '"')
	o.field("node")
	o.b = appendNode(o.b, e.Node, !e.Action.Removes(), now, nil)
	if e.Prev != nil {
		o.field("prevNode")
		o.b = appendNode(o.b, e.Prev, true, now, nil)
	}
	return append(o.end(), '\n')
}

// listing is an answer to a get. When much of it has come together it is passed on, so that a large one is never there as a whole.
type listing struct {
	v         *tree.View
	recursive bool
	now       int64
	pass      func([]byte) error // nil keeps all of it together
	err       error              // of passing on
}

// passFrom is how much comes together, in bytes.
const passFrom = 64 << 10

// appendGet appends what is left of the answer when the rest has been passed on.
func (l *listing) appendGet(b []byte, n *tree.Node) []byte {
	b = append(b, `{"action":"get","node":`...)
	if n.Dir {
		b = appendNode(b, n, true, l.now, func(b []byte) ([]byte, bool) { return l.appendChildren(b, n.Path) })
	} else {
		b = appendNode(b, n, true, l.now, nil)
	}
	return append(b, '}', '\n')
}

// appendChildren appends what is in a directory, in the order of names: the array's elements without its brackets.
func (l *listing) appendChildren(b []byte, dir string) (_ []byte, some bool) {
	l.v.Each(dir, false, func(n *tree.Node, _ int) bool {
		if some {
			b = append(b, ',')
		}
		some = true
		var inner func([]byte) ([]byte, bool)
		if l.recursive && n.Dir {
			inner = func(b []byte) ([]byte, bool) { return l.appendChildren(b, n.Path) }
		}
		b = appendNode(b, n, true, l.now, inner)
		if len(b) >= passFrom && l.pass != nil && l.err == nil {
			l.err = l.pass(b)
			b = b[:0]
		}
		return l.err == nil
	})
	return b, some
}
