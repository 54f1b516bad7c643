package golden2

// known says whether a difference is one of those that docs/compatibility.md lists.
func (r *run) known(q *request, a, b *answer, d string) bool {
	for _, k := range knownDifferences {
		if k.match(q, a, b) {
			r.saw(k.name)
			return true
		}
	}
	return false
}

type knownDifference struct {
	name, reason string
	match        func(q *request, a, b *answer) bool
}

var knownDifferences = []knownDifference{}
