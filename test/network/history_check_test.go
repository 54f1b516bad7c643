//go:build linux

package network

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The checker itself: it needs no lab.
func TestHistoryIsJudged(t *testing.T) {
	lost := errors.New("lost")
	p := func(value string, call, ret time.Duration, rev int64) *operation {
		return &operation{kind: put, key: "k", value: value, call: call, ret: ret, rev: rev}
	}
	g := func(seen string, mod int64, call, ret time.Duration, rev int64) *operation {
		return &operation{kind: get, key: "k", seen: seen, mod: mod, call: call, ret: ret, rev: rev}
	}
	unknown := func(o *operation) *operation {
		o.err = lost
		return o
	}
	for _, c := range []struct {
		name string
		ops  []*operation
		want string
	}{
		{"in order", []*operation{p("a", 1, 2, 2), g("a", 2, 3, 4, 2), p("b", 5, 6, 3), g("b", 3, 7, 8, 3)}, ""},
		{"at the same time", []*operation{p("a", 1, 5, 3), p("b", 1, 5, 2), g("b", 2, 2, 3, 2), g("a", 3, 6, 7, 3)}, ""},
		{"a stale read", []*operation{p("a", 1, 2, 2), p("b", 3, 4, 3), g("a", 2, 5, 6, 3)}, "not linearizable"},
		{"a stale read of a stale revision", []*operation{p("a", 1, 2, 2), p("b", 3, 4, 3), g("a", 2, 5, 6, 2)}, "gone back"},
		{"a lost write", []*operation{p("a", 1, 2, 2), g("", 0, 3, 4, 2)}, "not linearizable"},
		{"an unknown write seen late", []*operation{p("a", 1, 2, 2), unknown(p("b", 3, 4, 0)), g("a", 2, 5, 6, 2), g("b", 3, 9, 10, 3)}, ""},
		{"an unknown write that comes and goes", []*operation{p("a", 1, 2, 2), unknown(p("b", 3, 4, 0)), g("b", 3, 5, 6, 3), g("a", 2, 7, 8, 3)}, "not linearizable"},
		{"an unknown write never seen", []*operation{p("a", 1, 2, 2), unknown(p("b", 3, 4, 0)), g("a", 2, 5, 6, 3)}, ""},
		{"an unknown removal", []*operation{p("a", 1, 2, 2), unknown(&operation{kind: remove, key: "k", call: 3, ret: 4}), g("a", 2, 5, 6, 2), g("", 0, 7, 8, 3)}, ""},
		{"one revision for two", []*operation{p("a", 1, 2, 2), p("b", 3, 4, 2)}, "given twice"},
		{"a value made twice", []*operation{p("a", 1, 2, 2), g("a", 3, 3, 4, 3)}, "was made by"},
		{"a cas that holds", []*operation{p("a", 1, 2, 2), {kind: cas, key: "k", expect: "a", value: "b", ok: true, call: 3, ret: 4, rev: 3}, g("b", 3, 5, 6, 3)}, ""},
		{"a cas that may not hold", []*operation{p("a", 1, 2, 2), {kind: cas, key: "k", expect: "x", value: "b", ok: true, call: 3, ret: 4, rev: 3}}, "not linearizable"},
		{"a cas that should hold", []*operation{p("a", 1, 2, 2), {kind: cas, key: "k", expect: "a", value: "b", seen: "a", mod: 2, call: 3, ret: 4, rev: 2}}, "not linearizable"},
		{"a cas of unknown outcome", []*operation{p("a", 1, 2, 2), unknown(&operation{kind: cas, key: "k", expect: "a", value: "b", call: 3, ret: 4}), g("b", 3, 5, 6, 3)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := checkHistory(c.ops, time.Minute)
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}
