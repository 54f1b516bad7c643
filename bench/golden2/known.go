package golden2

// difference is one that docs/compatibility.md tells of.
type difference string

const (
	sorted       difference = "listings that nobody asked to be sorted are sorted"
	touched      difference = "an update of a directory stays in its modifiedIndex"
	once         difference = "a stream is told once that its node was removed"
	goesOn       difference = "a stream from the past goes on after the first event"
	hidden       difference = "history keeps hidden nodes hidden"
	byComponents difference = "history takes paths by components"
	refusedFails difference = "what is refused counts as a failure"
	noFailedSet  difference = "a create with a key in its way is no failed set"

	// slow is none: the machine was.
	slow difference = "a phase of endings took too long to be compared"
)

// reasons are why etcd's way is not taken. All of them are in the section /v2/keys of docs/compatibility.md.
var reasons = map[difference]string{
	sorted:       "the order is anybody's, and this is the one that can be relied on",
	touched:      "etcd's answer to the update shows the new index, and a later one the old index again (K-93)",
	once:         "nothing has happened twice (W-42)",
	goesOn:       "etcd's stream says nothing more, and does not end (W-41)",
	hidden:       "who waits live is not told of them either (W-35)",
	byComponents: "the removal of /foo is none of what waits for /foobar (W-34)",
	refusedFails: "section 12 of the specification",
	noFailedSet:  "section 12 of the specification",
	slow:         "what ends within the same tick cannot be put in order",
}

// saw counts a known difference.
func (r *run) saw(d difference) {
	if reasons[d] == "" {
		panic("expected a difference with a reason: " + d)
	}
	r.seen[d]++
}
