package sim

import (
	"errors"
	"fmt"
	"io"
	"reflect"
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
	Trace    uint64 // stands for everything that happened
	Voters   int    // to begin with
	Revision int64
	Counts
}

// Counts tell how much of what a run is there for has happened in it.
type Counts struct {
	Operations, Open, Linearizable, Serializable, Undecided int // of clients
	Entries, Conflicts, Again, Kept                         int // in the log; replaced, proposed again, kept for a leader
	Elections, Conf, Transfers, Snapshots, Unused, Prepared int // Prepared: starts that had to finish an installation
	Crashes, Torn, Kills, Restarts                          int
	Stalls, Pauses, Cuts, Jumps                             int
	Messages, Lost                                          int
	Events, Gaps                                            int // of watchers
	Grants, Renewals, Expired                               int // of leases
	TreeChanges, TreeReads, TreeEvents                      int // of the v2 API
	Limits, Exceeded                                        int // set and removed; commands that went beyond one
}

// add sums up the counts of several runs.
func (c *Counts) add(o *Counts) {
	to, from := reflect.ValueOf(c).Elem(), reflect.ValueOf(o).Elem()
	for i := range to.NumField() {
		to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
	}
}

// Failed is a check that did not hold, with what happened before.
type Failed struct {
	Seed    uint64
	Members int // as in Options
	Checker string
	Err     error
	Lines   []string
}

func (f *Failed) Error() string {
	return fmt.Sprintf("seed %d: %s: %v\n%s\nseed %d: %s: %v\nrepeat: %s", f.Seed, f.Checker, f.Err, strings.Join(f.Lines, "\n"),
		f.Seed, f.Checker, f.Err, f.Command())
}

// Command repeats the run; -sim.trace prints all that happens in it.
func (f *Failed) Command() string {
	c := fmt.Sprintf("go test ./internal/sim -run 'TestSeeds' -sim.seed %d -sim.seeds 1 -v", f.Seed)
	if f.Members > 0 {
		c += fmt.Sprintf(" -sim.members %d", f.Members)
	}
	return c
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
	solveWithin = 2 * time.Second // of real time, for porcupine
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
			err = &Failed{o.Seed, o.Members, checker, err, s.w.log}
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
	s.rep.Revision = s.truth.machine.View().KV.Rev()
	s.rep.Entries = len(s.truth.known)
	ops := s.history()
	switch porcupine.CheckOperationsTimeout(storeModel, ops, solveWithin) {
	case porcupine.Illegal:
		fail("linearizable", "the clients' history is not linearizable: %w", s.explain())
	case porcupine.Unknown:
		// What is not linearizable may take for ever to be found so. Mostly a single operation shows it.
		if err := s.explain(); !errors.Is(err, errUnexplained) {
			fail("linearizable", "%w", err)
		}
		s.rep.Undecided++
	}
}

var errUnexplained = errors.New("no single operation explains it")
