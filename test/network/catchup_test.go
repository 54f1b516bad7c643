//go:build linux

package network

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/internal/engine/gentle"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/test/process"
)

const (
	catchUpKeys  = 200_000
	catchUpValue = 256 // bytes
	perTxn       = 64
)

// A follower that is far behind is sent a snapshot, and clients do not notice.
func TestCatchUpBySnapshot(t *testing.T) {
	s := newScene(t, "--snapshot-catchup-entries", "500")
	lead := s.Leader()
	behind := s.Others(lead)[0]
	behind.Kill()
	away(t, behind)
	hurry(t)
	value := strings.Repeat("v", catchUpValue)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for first := w * perTxn; first < catchUpKeys; first += 4 * perTxn {
				var ops []clientv3.Op
				for i := first; i < first+perTxn; i++ {
					ops = append(ops, clientv3.OpPut(fmt.Sprintf("far/%06d", i), value))
				}
				if _, err := s.outside[lead].Txn(within(t, patience)).Then(ops...).Commit(); err != nil {
					t.Errorf("load: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d keys were put in %v", catchUpKeys, time.Since(began))
	time.Sleep(2 * time.Second) // what is left to do in the background

	// Part of what a catch-up costs is the follower's own work, which should be another machine's: it is done beside in
	// the windows to compare with. Windows take turns, as this machine has other work; what those without a catch-up
	// differ by among each other is noise, and allowed for.
	image := filepath.Join(filepath.Dir(behind.Dir), "image")
	s.save(lead, image)
	pairs := 5
	if *long {
		pairs = 15
	}
	var alone, beside, sent, lasted []time.Duration
	var idle float64
	for range pairs {
		alone = append(alone, percentile(s.rate(lead, func() { idle += idleShare(1500*time.Millisecond) / float64(pairs) }), .99))
		beside = append(beside, percentile(s.rate(lead, func() { s.takeInBeside(image) }), .99))
		sent = append(sent, percentile(s.rate(lead, func() {
			began := time.Now()
			behind.Launch()
			require.Eventually(t, func() bool { return strings.Contains(behind.Out.String(), "installed a snapshot") }, patience, 5*time.Millisecond)
			lasted = append(lasted, time.Since(began))
		}), .99))
		behind.Kill()
	}
	behind.Start()
	measured(t, "snapshot: from the follower's start until it has the state", 0, lasted...)
	measured(t, "puts at 500/s: p99 in peace", 0, alone...)
	measured(t, "puts at 500/s: p99 with a follower's work beside", 0, beside...)
	measured(t, "puts at 500/s: p99 while a snapshot is sent", 0, sent...)
	usual, noise := median(beside), percentile(beside, .75)-percentile(beside, .25)
	// With all members on two processors the target is missed (docs/performance.md): it is judged where that is asked for, and
	// the figure is told everywhere.
	bound := time.Duration(0)
	if *long {
		bound = usual + usual/5 + noise
	}
	if idle < leastIdle || noise > usual/2 {
		t.Logf("SKIP: in peace the processors are idle for %.0f%% of the time, and windows of the same kind differ by %v: other work on this machine decides how long puts take", 100*idle, noise)
		bound = 0
	}
	measured(t, "puts at 500/s: median p99 while a snapshot is sent", bound, median(sent))
	require.Equal(t, lead, s.Leader())
	s.end()
}

// save keeps what a follower would be sent.
func (s *scene) save(from *process.Member, path string) {
	r, err := s.outside[from].Snapshot(within(s.t, patience))
	require.NoError(s.t, err)
	defer r.Close()
	f, err := os.Create(path)
	require.NoError(s.t, err)
	defer f.Close()
	_, err = io.Copy(f, r)
	require.NoError(s.t, err)
}

// takeInBeside does what a member does with an image, in a process that is as unhurried as it.
func (s *scene) takeInBeside(image string) {
	self, err := os.Executable()
	require.NoError(s.t, err)
	args := append(slices.Clone(unhurried), self, "-takein", image)
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(s.t, err, "%s", out)
}

var takeInImage = flag.String("takein", "", "only do what a follower does with an image; TestCatchUpBySnapshot uses it")

// takeIn makes a database of an image and opens it, as a member does that is sent one.
func takeIn(image string) error {
	dir, err := os.MkdirTemp(filepath.Dir(image), "taken")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	in, err := os.Open(image)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "received"))
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	f, err := snapshot.OpenFile(vfs.OS(), out.Name())
	if err != nil {
		return err
	}
	defer f.Close()
	eng, err := pebble.Open(vfs.OS(), filepath.Join(dir, "db"), pebble.Options{})
	if err != nil {
		return err
	}
	if err := f.Load(context.Background(), gentle.Wrap(eng), nil); err != nil {
		return err
	}
	_, err = machine.Open(machine.Config{}, gentle.Wrap(eng))
	return errors.Join(err, eng.Close())
}

// leastIdle is how much of the processors has to be left when a cluster with two members takes 500 puts a second.
const leastIdle = .35

// idleShare is how much of the time all processors together have nothing to do.
func idleShare(during time.Duration) float64 {
	times := func() (idle, all float64) {
		b, _ := os.ReadFile("/proc/stat")
		line, _, _ := strings.Cut(string(b), "\n")
		for i, f := range strings.Fields(line)[1:] {
			n, _ := strconv.ParseFloat(f, 64)
			if all += n; i == 3 || i == 4 {
				idle += n
			}
		}
		return idle, all
	}
	idle, all := times()
	time.Sleep(during)
	idleNow, allNow := times()
	return (idleNow - idle) / (allNow - all)
}

func median(took []time.Duration) time.Duration { return percentile(took, .5) }

// away makes a member that does not run disturb others less, as if it were on a machine of its own: its files are in
// memory, and its process runs when few others have anything to do.
func away(t testing.TB, m *process.Member) {
	dir := newMemory(t, "away")
	out, err := exec.Command("cp", "-a", m.Dir, dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	m.Dir = filepath.Join(dir, filepath.Base(m.Dir))
	m.Under = unhurried
}

// unhurried starts a command that runs when few others have anything to do, in a session of its own: kernels that share
// processors among sessions first must not count its work as that of the others here.
var unhurried = []string{"setsid", "nice", "-n", "19"}

// hurry lets this session's processes, members among them, run before whatever else the machine has to do, until the
// test ends. Where the kernel does not group processes by sessions it changes nothing.
func hurry(t testing.TB) {
	set := func(nice string) { _ = os.WriteFile("/proc/self/autogroup", []byte(nice), 0) }
	set("-10")
	t.Cleanup(func() { set("0") })
}

// rate puts at a fixed rate, through one member, while during runs, and returns how long each put took from the moment
// at which it was due.
func (s *scene) rate(through *process.Member, during func()) (took []time.Duration) {
	s.t.Helper()
	const every = 2 * time.Millisecond
	c := s.outside[through]
	value := strings.Repeat("w", catchUpValue)
	stop, done := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		defer wg.Wait()
		for due := time.Now(); ; due = due.Add(every) {
			time.Sleep(time.Until(due))
			select {
			case <-stop:
				return
			default:
			}
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
				defer cancel()
				if _, err := c.Put(ctx, fmt.Sprintf("far/%06d", rand.IntN(catchUpKeys)), value); err != nil {
					s.t.Errorf("put: %v", err)
				}
				mu.Lock()
				took = append(took, time.Since(due))
				mu.Unlock()
			})
		}
	}()
	during()
	close(stop)
	<-done
	return took
}
