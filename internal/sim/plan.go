package sim

import (
	"math/rand/v2"
	"time"
)

// plan is what a seed decides before anything happens: the cluster's shape, how good its network is, who uses it and
// what goes wrong. Each seed leaves some kinds of faults out: a fault that is always there hides what others would show.
type plan struct {
	voters      int // of the static bootstrap
	clients     int
	observers   int
	lessees     int
	treeClients int           // of the v2 API
	waiters     int           // there
	think       time.Duration // a client's rest between two operations, about
	keepEntries uint64        // applied entries that members keep in memory for others
	gather      bool          // proposals wait while the log is at work
	segment     int64         // size of a segment of the log
	flushEvery  time.Duration
	preVote     bool
	slowApply   float64 // percent of jobs for the machine that take long
	skew        float64 // clocks run up to this much too fast or too slow
	membership  bool
	users       bool // who may do what changes
	mirror      bool // the tree of the v2 API shows in the keyspace
	limits      bool // quotas are set, changed and removed
	faults      []fault
	pace        time.Duration // between two faults, about
	link        quality       // of every link while nothing is wrong
	crashBoot   float64       // percent of starts that are cut short
	crashImage  float64       // percent of snapshots in whose preparation or installation the power goes
	cutImages   float64       // percent of snapshots that are cut short
	repeatImage float64       // percent of snapshots that arrive again
}

// quality is how a link treats what is sent over it.
type quality struct {
	least, most            time.Duration
	lose, repeat, disorder float64 // percent
	late                   float64 // percent of messages that take seconds
}

// newPlan draws a plan. members is the number of voters to begin with, 0 to let the seed choose.
func newPlan(seed uint64, members int) plan {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0x706c616e))}
	p := plan{voters: members, clients: 3 + w.rng.IntN(5), observers: 3, lessees: 3 + w.rng.IntN(5),
		treeClients: 1 + w.rng.IntN(4), waiters: 3,
		think: w.between(15*time.Millisecond, 150*time.Millisecond), keepEntries: pick(w, []uint64{3, 10, 40, 200, 5000}),
		gather: w.chance(50), segment: pick(w, []int64{4 << 10, 16 << 10, 64 << 10}), flushEvery: w.between(300*time.Millisecond, 8*time.Second),
		pace:        w.between(100*time.Millisecond, 1500*time.Millisecond),
		link:        quality{least: 100 * time.Microsecond, most: w.between(500*time.Microsecond, 8*time.Millisecond)},
		repeatImage: 20}
	if p.voters == 0 {
		p.voters = pick(w, []int{1, 1, 3, 3, 3, 3, 5, 5})
	}
	p.preVote = !w.chance(15)
	if w.chance(40) {
		p.slowApply = pick(w, []float64{1, 3, 15})
	}
	if w.chance(40) {
		p.skew = w.rng.Float64() * 0.03
	}
	if w.chance(50) {
		p.link.disorder = w.rng.Float64() * 20
	}
	if w.chance(50) {
		p.link.repeat = w.rng.Float64() * 5
	}
	if w.chance(40) {
		p.link.lose = w.rng.Float64() * 5
	}
	if w.chance(50) {
		p.cutImages = w.rng.Float64() * 60
	}
	if w.chance(40) {
		p.link.late = w.rng.Float64() * 2
	}
	if w.chance(40) {
		p.crashBoot = 20
	}
	if w.chance(50) {
		p.crashImage = 40
	}
	p.mirror, p.users = w.chance(50), w.chance(50)
	p.membership = w.chance(50)
	if p.voters == 1 {
		p.membership = w.chance(30)
	}
	for _, f := range allFaults {
		if (p.voters > 1 || p.membership || f.alone) && w.chance(f.often) {
			p.faults = append(p.faults, f)
		}
	}
	if len(p.faults) == 0 {
		p.faults = []fault{faultNamed("crash")}
	}
	p.limits = w.chance(50)
	return p
}

// quiet is a plan in which nothing goes wrong and nobody is there, for scenarios.
func quiet(voters int) plan {
	return plan{voters: voters, preVote: true, think: 100 * time.Millisecond, keepEntries: 5000, segment: 64 << 10, flushEvery: time.Second,
		link: quality{least: 100 * time.Microsecond, most: time.Millisecond}}
}
