package ctl

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/cairn-kv/cairn/client"
)

const (
	checkKeyBytes   = 256
	checkValueBytes = 1024
	checkCleanup    = 30 * time.Second
)

func (a *app) checkCommand() *cobra.Command {
	return group("check", "commands for checking properties of the etcd cluster", a.checkPerf(), a.checkScale())
}

// checkFlags are what both checks take.
type checkFlags struct {
	load, prefix            string
	autoCompact, autoDefrag bool
}

func (o *checkFlags) addTo(cmd *cobra.Command, prefix string) {
	f := cmd.Flags()
	f.StringVar(&o.load, "load", "s", "The load of the check: s(small), m(medium), l(large), xl(xLarge)")
	f.StringVar(&o.prefix, "prefix", prefix, "The prefix for writing the keys of the check.")
	f.BoolVar(&o.autoCompact, "auto-compact", false, "Compact storage with last revision after test is finished.")
	f.BoolVar(&o.autoDefrag, "auto-defrag", false, "Defragment storage after test is finished.")
	_ = cmd.RegisterFlagCompletionFunc("load", words("small", "medium", "large", "xLarge"))
}

// loadName maps the spellings of a load to one.
func loadName(load string) (string, error) {
	name, ok := map[string]string{
		"s": "s", "small": "s", "m": "m", "medium": "m",
		"l": "l", "large": "l", "xl": "xl", "xLarge": "xl",
	}[load]
	if !ok {
		return "", fail(exitBadFeature, "unknown load option %v", load)
	}
	return name, nil
}

// checkRun writes random pairs under a prefix and cleans up behind itself.
type checkRun struct {
	a      *app
	flags  *checkFlags
	cfg    client.Config
	writes *client.Client
}

// begin makes the client and refuses a prefix that has keys.
func (a *app) beginCheck(cmd *cobra.Command, o *checkFlags) (*checkRun, error) {
	_, cfg, err := a.setup(cmd, plain)
	if err != nil {
		return nil, err
	}
	c, err := a.connect(*cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.timed(cmd)
	defer cancel()
	resp, err := c.Get(ctx, o.prefix, client.WithPrefix(), client.WithLimit(1), client.WithKeysOnly())
	if err != nil {
		c.Close()
		return nil, err
	}
	if len(resp.Kvs) > 0 {
		c.Close()
		return nil, fail(exitInvalidInput, "prefix %q has keys. Delete with 'etcdctl del --prefix %s' first", o.prefix, o.prefix)
	}
	return &checkRun{a: a, flags: o, cfg: *cfg, writes: c}, nil
}

// tally is what the writes of a check came to.
type tally struct {
	mu     sync.Mutex
	took   []time.Duration
	errors map[string]int
}

func (t *tally) add(d time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.errors[err.Error()]++
		return
	}
	t.took = append(t.took, d)
}

// seconds gives the slowest write and the standard deviation, in seconds.
func (t *tally) seconds() (slowest, deviation float64) {
	if len(t.took) == 0 {
		return 0, 0
	}
	sum := 0.0
	for _, d := range t.took {
		sum += d.Seconds()
		slowest = max(slowest, d.Seconds())
	}
	mean := sum / float64(len(t.took))
	squares := 0.0
	for _, d := range t.took {
		squares += (d.Seconds() - mean) * (d.Seconds() - mean)
	}
	return slowest, math.Sqrt(squares / float64(len(t.took)))
}

// reportErrors prints the distribution of errors and says whether there are any.
func (t *tally) reportErrors(w io.Writer) bool {
	if len(t.errors) == 0 {
		return false
	}
	fmt.Fprintln(w, "FAIL: too many errors")
	for _, text := range slices.Sorted(maps.Keys(t.errors)) {
		fmt.Fprintf(w, "FAIL: ERROR(%s) -> %d\n", text, t.errors[text])
	}
	return true
}

// write lets clients write total pairs until ctx ends, at most rate a second
// (0: as fast as they can). Each write has its moment, so a slow server is not
// asked for less.
func (r *checkRun) write(ctx context.Context, clients, total, rate int, pair func() (string, string), bar func()) *tally {
	t := &tally{errors: make(map[string]int)}
	var issued atomic.Int64
	var workers sync.WaitGroup
	began := time.Now()
	for range clients {
		workers.Go(func() {
			for {
				i := issued.Add(1) - 1
				if i >= int64(total) {
					return
				}
				if rate > 0 {
					due := began.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
					if sleep(ctx, time.Until(due)) != nil {
						return
					}
				}
				key, value := pair()
				start := time.Now()
				_, err := r.writes.Put(ctx, key, value)
				if ctx.Err() != nil {
					return
				}
				t.add(time.Since(start), err)
				bar()
			}
		})
	}
	workers.Wait()
	return t
}

// cleanUp deletes the keys of the check, and compacts and defragments when asked
// to. It works after an interrupt too.
func (r *checkRun) cleanUp() error {
	defer r.writes.Close()
	ctx, cancel := context.WithTimeout(r.a.Context, checkCleanup)
	defer cancel()
	resp, err := r.writes.Delete(ctx, r.flags.prefix, client.WithPrefix())
	if err != nil {
		return err
	}
	out := r.a.Stdout
	if r.flags.autoCompact {
		rev := resp.Header.GetRevision()
		fmt.Fprintf(out, "Compacting with revision %d\n", rev)
		if _, err := r.writes.Compact(ctx, rev, client.WithCompactPhysical()); err != nil {
			return err
		}
		fmt.Fprintf(out, "Compacted with revision %d\n", rev)
	}
	if r.flags.autoDefrag {
		for _, ep := range r.cfg.Endpoints {
			fmt.Fprintf(out, "Defragmenting %q\n", ep)
			if _, err := r.writes.Defragment(ctx, ep); err != nil {
				return err
			}
			fmt.Fprintf(out, "Defragmented %q\n", ep)
		}
	}
	return nil
}

// randomText gives n bytes that are safe in a key.
func randomText(n int) string {
	b := make([]byte, n/2)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// progress starts a bar on stderr, if that is a file; the functions move and end
// it.
func (a *app) progress(total int) (step, end func()) {
	f, ok := a.Stderr.(*os.File)
	if !ok {
		return func() {}, func() {}
	}
	p := mpb.New(mpb.WithOutput(f), mpb.WithWidth(48))
	bar := p.AddBar(int64(total), mpb.AppendDecorators(decor.Percentage()))
	return bar.Increment, func() {
		bar.Abort(false)
		p.Wait()
	}
}
