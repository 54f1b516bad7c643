package sim

import (
	"errors"
	"testing"
)

// TestSabotageIsNoticed breaks the members in known ways; the checks have to find each within a few seeds.
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
				if _, err := play(t, Options{Seed: seed, Sabotage: s}); err != nil {
					var f *Failed
					if errors.As(err, &f) {
						t.Logf("seed %d: %s: %.200v", seed, f.Checker, f.Err)
					}
					return
				}
			}
			t.Fatal("no seed has noticed")
		})
	}
}
