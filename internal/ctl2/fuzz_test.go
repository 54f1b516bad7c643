package ctl2

import (
	"slices"
	"strings"
	"testing"
)

// FuzzArguments: whatever the words are, what comes out of them is some of them, each at most once.
func FuzzArguments(f *testing.F) {
	for _, line := range []string{"foo bar --ttl 5", "--ttl=5 foo -- -bar", "-- -x", "-", "--", "foo --ttl", "-r -r --with-value x y", "=", "-=x", "--ttl 0x5 a"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		in := strings.Split(line, " ")
		var n uint64
		var b bool
		var s string
		var l []string
		args, err := arguments([]option{number(&n, "", "ttl"), toggle(&b, "", "recursive", "r"), text(&s, "", "with-value"), list(&l, "", "roles")}, slices.Clone(in))
		if err != nil {
			if args != nil || err.Error() == "" {
				t.Fatalf("%q: %q and %v", line, args, err)
			}
			return
		}
		left := slices.Clone(in)
		for _, a := range args {
			i := slices.Index(left, a)
			if i < 0 {
				t.Fatalf("%q gives %q", line, args)
			}
			left = slices.Delete(left, i, i+1)
		}
	})
}
