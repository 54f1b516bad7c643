package wire

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// ParseVersion takes a version x.y.z apart. What follows z, as in 3.8.0-rc.1, does not count.
func ParseVersion(v string) (major, minor, patch int, ok bool) {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) != 3 {
		return 0, 0, 0, false
	}
	last, _, _ := strings.Cut(parts[2], "-")
	last, _, _ = strings.Cut(last, "+")
	parts[2] = last
	var n [3]int
	for i, p := range parts {
		x, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return 0, 0, 0, false
		}
		n[i] = int(x)
	}
	return n[0], n[1], n[2], true
}

// MinorVersion is x.y.0 for a version x.y.z, "" for what is none.
func MinorVersion(v string) string {
	major, minor, _, ok := ParseVersion(v)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d.%d.0", major, minor)
}

// CompareVersions orders two versions; what is no version comes before all that are.
func CompareVersions(a, b string) int {
	a1, a2, a3, aok := ParseVersion(a)
	b1, b2, b3, bok := ParseVersion(b)
	if !aok || !bok {
		return cmp.Compare(flag(aok), flag(bok))
	}
	return cmp.Or(cmp.Compare(a1, b1), cmp.Compare(a2, b2), cmp.Compare(a3, b3))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
