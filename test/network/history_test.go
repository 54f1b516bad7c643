//go:build linux

package network

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one entry of what clients saw. Every value is put once only, so what is read tells which operation
// wrote it.
type operation struct {
	kind      kind
	key       string
	value     string // put, cas: the new one
	expect    string // cas: the one that has to be there
	call, ret time.Duration
	via       string // the member that was asked, "" for any

	err    error
	unsent bool   // it failed before it reached anybody
	ok     bool   // cas: it has taken effect
	seen   string // what was there; "" for nothing. Not of puts, nor of a cas that has taken effect
	mod    int64  // the revision that made what was seen
	rev    int64  // the store's, as the header shows it
}

type kind string

const (
	get    kind = "get"
	put    kind = "put"
	remove kind = "remove"
	cas    kind = "cas" // puts if the expected value is there, reads otherwise
)

func (o *operation) writes() bool { return o.kind == put || o.kind == cas || o.kind == remove }

// changed reports whether an answered operation has made a revision.
func (o *operation) changed() bool {
	return o.kind == put || o.kind == cas && o.ok || o.kind == remove && o.seen != ""
}

func (o *operation) String() string {
	return fmt.Sprintf("%s %s %q expecting %q at %q (%v to %v): ok %v, seen %q of %d, revision %d, error %v",
		o.kind, o.key, o.value, o.expect, o.via, o.call, o.ret, o.ok, o.seen, o.mod, o.rev, o.err)
}

// registerModel says which answers one key may give, one operation at a time. The key's state is its value.
var registerModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, _ any) (bool, any) {
		was, op := state.(string), in.(*operation)
		unknown := op.err != nil
		switch op.kind {
		case get:
			return op.seen == was, was
		case put:
			return true, op.value
		case remove:
			return unknown || op.seen == was, ""
		default:
			if unknown {
				op = &operation{expect: op.expect, value: op.value, ok: was == op.expect, seen: was}
			}
			if op.ok {
				return was == op.expect, op.value
			}
			return was != op.expect && op.seen == was, was
		}
	},
	DescribeOperation: func(in, _ any) string { return in.(*operation).String() },
}

// checkHistory checks that what clients saw is linearizable, key by key, and that revisions tell the same story.
func checkHistory(ops []*operation, limit time.Duration) error {
	if err := checkRevisions(ops); err != nil {
		return err
	}
	keys := map[string][]porcupine.Operation{}
	var order []string
	for i, o := range prepare(ops) {
		if keys[o.key] == nil {
			order = append(order, o.key)
		}
		keys[o.key] = append(keys[o.key], porcupine.Operation{ClientId: i, Input: o, Call: int64(o.call), Return: int64(o.ret)})
	}
	slices.Sort(order)
	for _, key := range order {
		switch porcupine.CheckOperationsTimeout(registerModel, keys[key], limit) {
		case porcupine.Illegal:
			return fmt.Errorf("what clients saw of key %s is not linearizable: %s", key, excerpt(keys[key]))
		case porcupine.Unknown:
			return fmt.Errorf("porcupine found no answer for the %d operations on key %s in %v", len(keys[key]), key, limit)
		}
	}
	return nil
}

// prepare drops what says nothing: failed reads, what was never sent, and writes of unknown outcome whose values nobody
// has seen (as everything that looks at a key tells its value, nothing can depend on them). Where the value was seen, the
// write had its effect by then. Other operations of unknown outcome may take effect at any time later.
func prepare(ops []*operation) (out []*operation) {
	seenBy := map[string]time.Duration{}
	saw := func(value string, at time.Duration) {
		if was, ok := seenBy[value]; !ok || at < was {
			seenBy[value] = at
		}
	}
	for _, o := range ops {
		if o.err == nil {
			saw(o.seen, o.ret)
			if o.kind == cas && o.ok {
				saw(o.expect, o.ret)
			}
		}
	}
	for _, o := range ops {
		if o.err != nil {
			if o.kind == get || o.unsent {
				continue
			}
			o = &operation{kind: o.kind, key: o.key, value: o.value, expect: o.expect, call: o.call, via: o.via, err: o.err, ret: math.MaxInt64}
			if o.kind != remove {
				at, seen := seenBy[o.value]
				if !seen {
					continue
				}
				o.ret = at
			}
		}
		out = append(out, o)
	}
	return out
}

// checkRevisions checks that the store's revision never goes back, that each change has one of its own, and that a value
// is always shown with the revision that made it.
func checkRevisions(ops []*operation) error {
	var answered []*operation
	made := map[int64]*operation{}
	of := map[string]int64{}
	told := func(value string, rev int64) error {
		if was, ok := of[value]; ok && was != rev {
			return fmt.Errorf("value %q was made by revision %d, and by %d", value, was, rev)
		}
		of[value] = rev
		return nil
	}
	for _, o := range ops {
		if o.err != nil {
			continue
		}
		answered = append(answered, o)
		if o.changed() {
			if other := made[o.rev]; other != nil {
				return fmt.Errorf("revision %d was given twice: %v, and %v", o.rev, other, o)
			}
			made[o.rev] = o
			if o.value != "" {
				if err := told(o.value, o.rev); err != nil {
					return err
				}
			}
		}
		if o.seen != "" {
			if err := told(o.seen, o.mod); err != nil {
				return err
			}
		}
	}
	byCall, byRet := slices.Clone(answered), slices.Clone(answered)
	slices.SortFunc(byCall, func(a, b *operation) int { return cmp.Compare(a.call, b.call) })
	slices.SortFunc(byRet, func(a, b *operation) int { return cmp.Compare(a.ret, b.ret) })
	known := &operation{}
	for _, o := range byCall {
		for len(byRet) > 0 && byRet[0].ret < o.call {
			if byRet[0].rev > known.rev {
				known = byRet[0]
			}
			byRet = byRet[1:]
		}
		if o.rev < known.rev || o.changed() && o.rev == known.rev {
			return fmt.Errorf("revisions have gone back: %v came after %v", o, known)
		}
	}
	return nil
}

// excerpt is the smallest part of a history, from its beginning, that is wrong, and what goes before it.
func excerpt(h []porcupine.Operation) string {
	slices.SortFunc(h, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	lo, hi := 0, len(h)
	for lo < hi {
		mid := (lo + hi) / 2
		if porcupine.CheckOperationsTimeout(registerModel, closed(h, mid), 10*time.Second) == porcupine.Illegal {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	out := ""
	for _, o := range h[max(0, lo-20):min(lo, len(h))] {
		out += "\n  " + o.Input.(*operation).String()
	}
	return out
}

// closed is the history of the first n operations to end; what others had begun by then may have had its effect.
func closed(h []porcupine.Operation, n int) []porcupine.Operation {
	out := slices.Clone(h[:n])
	if n == 0 {
		return out
	}
	last := out[n-1].Return
	for _, o := range h[n:] {
		if op := o.Input.(*operation); o.Call < last && op.writes() {
			open := *op
			if open.err == nil {
				open.err = errOpen
			}
			o.Input, o.Return = &open, math.MaxInt64
			out = append(out, o)
		}
	}
	return out
}

var errOpen = errors.New("not over yet")
