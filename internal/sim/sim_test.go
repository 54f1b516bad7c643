package sim

import (
	"flag"
	"os"
	"reflect"
	"runtime/debug"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	flagSeed    = flag.Uint64("sim.seed", 0, "the first seed to run")
	flagSeeds   = flag.Int("sim.seeds", 60, "how many seeds to run")
	flagFor     = flag.Duration("sim.for", 0, "how long to run seeds, instead of a number of them")
	flagMembers = flag.Int("sim.members", 0, "how many voters to begin with; 0 lets the seed choose")
	flagTrace   = flag.Bool("sim.trace", false, "print everything that happens")
)

// TestMain lets garbage lie for longer: runs make much of it and hold little.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}

// virtual is for how long things go wrong in a run.
const virtual = 15 * time.Second

// play runs one seed. Raft draws its election timeouts from the system's source of chance, which is made the seed's.
func play(t *testing.T, o Options) (Report, error) {
	cryptotest.SetGlobalRandom(t, o.Seed)
	o.Duration = virtual
	if *flagTrace {
		o.Trace = os.Stdout
	}
	return Run(o)
}

// TestSeeds runs seeds one after the other. A failure names its seed and the command that repeats it.
func TestSeeds(t *testing.T) {
	var total Counts
	n := 0
	shapes := map[int]int{}
	for begun := time.Now(); ; n++ {
		if *flagFor > 0 && time.Since(begun) > *flagFor || *flagFor == 0 && n == *flagSeeds {
			break
		}
		rep, err := play(t, Options{Seed: *flagSeed + uint64(n), Members: *flagMembers})
		require.NoError(t, err)
		total.add(&rep.Counts)
		shapes[rep.Voters]++
	}
	t.Logf("%d seeds from %d, voters %v: %+v", n, *flagSeed, shapes, total)
	if n < 60 || *flagMembers > 0 {
		return
	}
	for i, v := 0, reflect.ValueOf(total); i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; !rare[name] {
			require.NotZero(t, v.Field(i).Int(), "nothing of what %s counts has happened", name)
		}
	}
}

// rare are counts that may be zero in a few dozen runs.
var rare = map[string]bool{"Undecided": true, "Unused": true, "Prepared": true, "Gaps": true}

// TestSameSeedSameRun shows that a seed is all that a run depends on.
func TestSameSeedSameRun(t *testing.T) {
	for seed := range uint64(6) {
		a, err := play(t, Options{Seed: seed})
		require.NoError(t, err)
		b, err := play(t, Options{Seed: seed})
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
}

func calm(p *plan) {
	q := quiet(p.voters)
	q.clients, q.observers, q.lessees = 1, 1, 0
	*p = q
}

// TestNothingGoesWrong is a run without faults.
func TestNothingGoesWrong(t *testing.T) {
	rep, err := play(t, Options{Seed: 1, Members: 3, tune: calm})
	require.NoError(t, err)
	require.Equal(t, 1, rep.Elections)
	require.NotZero(t, rep.Operations)
	require.NotZero(t, rep.Events)
	t.Logf("%+v", rep)
}
