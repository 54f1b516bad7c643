package sim

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Options of a run.
type Options struct {
	Seed     uint64
	Duration time.Duration // of virtual time in which things go wrong
	Members  int           // voters to begin with; 0 lets the seed choose
	Sabotage Sabotage
	Trace    io.Writer // every line of the trace, nil if nobody wants them

	tune func(*plan) // changes what the seed has drawn
}

// Report is what a run came to.
type Report struct {
	Trace                                               uint64 // stands for everything that happened
	Voters                                              int
	Operations, Open, Revision, Entries                 int
	Crashes, Torn, Elections, Snapshots, Conf           int
	Messages, Lost                                      int
	Stalls, Pauses, Cuts, Jumps, Conflicts              int
	Grants, Renewals, Expired, Events, Gaps, Transfers  int
	Linearizable, Serializable, Acknowledged, Undecided int
}

// add sums up the reports of several runs.
func (r *Report) add(o Report) {
	for _, p := range []struct{ to, from *int }{{&r.Operations, &o.Operations}, {&r.Open, &o.Open}, {&r.Entries, &o.Entries},
		{&r.Crashes, &o.Crashes}, {&r.Torn, &o.Torn}, {&r.Elections, &o.Elections}, {&r.Snapshots, &o.Snapshots}, {&r.Conf, &o.Conf},
		{&r.Messages, &o.Messages}, {&r.Lost, &o.Lost}, {&r.Stalls, &o.Stalls}, {&r.Pauses, &o.Pauses}, {&r.Cuts, &o.Cuts},
		{&r.Jumps, &o.Jumps}, {&r.Conflicts, &o.Conflicts}, {&r.Grants, &o.Grants}, {&r.Renewals, &o.Renewals}, {&r.Expired, &o.Expired}, {&r.Events, &o.Events},
		{&r.Gaps, &o.Gaps}, {&r.Transfers, &o.Transfers}, {&r.Linearizable, &o.Linearizable}, {&r.Serializable, &o.Serializable},
		{&r.Acknowledged, &o.Acknowledged}, {&r.Undecided, &o.Undecided}} {
		*p.to += *p.from
	}
}

// Failed is a check that did not hold, with what happened before.
type Failed struct {
	Seed    uint64
	Checker string
	Err     error
	Lines   []string
}

func (f *Failed) Error() string {
	return fmt.Sprintf("seed %d: %s: %v\n%s\nrepeat: go test ./internal/sim -run TestSeeds -sim.seed %d -sim.seeds 1 -v",
		f.Seed, f.Checker, f.Err, strings.Join(f.Lines, "\n"), f.Seed)
}

func (f *Failed) Unwrap() error { return f.Err }

// failure is a check that did not hold.
type failure struct {
	checker string
	err     error
}

func (f failure) String() string { return f.checker + ": " + f.err.Error() }

// fail ends the run.
func fail(checker, format string, args ...any) {
	panic(failure{checker, fmt.Errorf(format, args...)})
}

// must ends the run if something failed that never may.
func must(err error) {
	if err != nil {
		fail("member", "%w", err)
	}
}

const (
	// leastSettle is how long a cluster is left in peace at least before it has to be whole, mostSettle how long it may take.
	leastSettle = 2 * time.Second
	mostSettle  = 20 * time.Second
	solveWithin = 20 * time.Second // of real time, for porcupine
)

// Run plays one seed to its end and checks what it left.
func Run(o Options) (rep Report, err error) {
	p := newPlan(o.Seed, o.Members)
	if o.tune != nil {
		o.tune(&p)
	}
	s := newSystem(o, p)
	defer func() {
		checker := ""
		switch p := recover().(type) {
		case nil:
		case failure:
			checker, err = p.checker, p.err
		default:
			checker, err = "panic", fmt.Errorf("%v\n%s", p, debug.Stack())
		}
		if err != nil {
			err = &Failed{o.Seed, checker, err, s.w.log}
		}
		rep = s.rep
		rep.Trace, rep.Voters = s.w.trace, p.voters
	}()
	s.start()
	s.run(o.Duration)
	s.settle()
	s.checkEnd()
	return rep, nil
}

// checkEnd is what can only be said of a run as a whole.
func (s *system) checkEnd() {
	s.checkReplay()
	for _, c := range s.clients {
		s.rep.Operations += len(c.ops)
	}
	s.rep.Revision = int(s.truth.machine.View().KV.Rev())
	s.rep.Entries = len(s.truth.known)
	ops := s.history()
	switch porcupine.CheckOperationsTimeout(storeModel, ops, solveWithin) {
	case porcupine.Illegal:
		fail("linearizable", "the clients' history is not linearizable: %w", s.explain())
	case porcupine.Unknown:
		s.rep.Undecided++
	}
}

var errUnexplained = errors.New("no single operation explains it")
