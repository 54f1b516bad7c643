package sim

import (
	"flag"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	flagSeed  = flag.Uint64("sim.seed", 0, "the first seed to run")
	flagSeeds = flag.Int("sim.seeds", 60, "how many seeds to run")
)

const virtual = 20 * time.Second

// TestSeeds runs seeds one after the other. A failure names its seed; `go test ./internal/sim -run TestSeeds
// -sim.seed N -sim.seeds 1` repeats it.
func TestSeeds(t *testing.T) {
	var total Report
	for i := range *flagSeeds {
		cryptotest.SetGlobalRandom(t, *flagSeed+uint64(i)) // raft's election timeouts
		rep, err := Run(Options{Seed: *flagSeed + uint64(i), Duration: virtual})
		require.NoError(t, err)
		require.NotZero(t, rep.Operations)
		total.Crashes += rep.Crashes
		total.Operations += rep.Operations
	}
	t.Logf("%d seeds from %d: %d crashes, %d operations", *flagSeeds, *flagSeed, total.Crashes, total.Operations)
	require.NotZero(t, total.Crashes)
}

// TestSameSeedSameRun shows that a seed is all that a run depends on.
func TestSameSeedSameRun(t *testing.T) {
	for seed := range uint64(5) {
		// raft draws its election timeouts from the system's source.
		cryptotest.SetGlobalRandom(t, seed)
		a, err := Run(Options{Seed: seed, Duration: virtual})
		require.NoError(t, err)
		cryptotest.SetGlobalRandom(t, seed)
		b, err := Run(Options{Seed: seed, Duration: virtual})
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
}

// TestSabotageIsNoticed breaks the member in known ways; the checks have to find each within a few seeds.
func TestSabotageIsNoticed(t *testing.T) {
	for name, s := range map[string]Sabotage{
		"acknowledge before sync": {AckBeforeSync: true},
		"skip sync":               {SkipSync: true},
		"forget history":          {ForgetHistory: true},
		"drop watch events":       {DropWatchEvents: true},
		"stale reads":             {StaleReads: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				if _, err := Run(Options{Seed: seed, Duration: virtual, Sabotage: s}); err != nil {
					t.Logf("seed %d: %.200s", seed, err)
					return
				}
			}
			t.Fatal("no seed has noticed")
		})
	}
}
