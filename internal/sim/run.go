package sim

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Options of a run.
type Options struct {
	Seed     uint64
	Duration time.Duration // of virtual time
	Sabotage Sabotage
}

// Report is what a run came to.
type Report struct {
	Trace                         uint64 // stands for everything that happened
	Crashes, Operations, Revision int
}

// Failed is a check that did not hold, with what happened before.
type Failed struct {
	Seed  uint64
	Err   error
	Lines []string
}

func (f *Failed) Error() string {
	return fmt.Sprintf("seed %d: %v\n%s", f.Seed, f.Err, strings.Join(f.Lines, "\n"))
}

func (f *Failed) Unwrap() error { return f.Err }

const (
	settleTime  = 2 * time.Second
	clientCount = 4
	watchCount  = 3
)

// Run plays one seed to its end and checks what it left.
func Run(o Options) (rep Report, err error) {
	w := newWorld(o.Seed)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = p.err
		default:
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			err = &Failed{o.Seed, err, w.log}
		}
		rep.Trace = w.trace
	}()
	m, err := newMember(w, o.Sabotage)
	if err != nil {
		return rep, err
	}
	if err := m.boot(); err != nil {
		return rep, err
	}
	var clients []*client
	for i := range clientCount {
		c := &client{w: w, m: m, id: i}
		clients = append(clients, c)
		w.after(w.span(50*time.Millisecond), c.run)
	}
	var watchers []*observer
	for range watchCount {
		x := &observer{w: w, m: m, next: 1}
		watchers = append(watchers, x)
		w.after(w.span(50*time.Millisecond), x.run)
	}
	ls := &leases{w: w, m: m, granted: map[int64]*leaseTrack{}}
	w.after(w.span(100*time.Millisecond), ls.run)
	w.after(w.span(time.Second), func() { compactNow(w, m) })
	nextCrash := w.between(100*time.Millisecond, 3*time.Second)
	for w.now < o.Duration {
		var down bool
		if down, err = stepOrCrash(w, m); err != nil {
			return rep, err
		}
		if !down && w.now >= nextCrash && m.up {
			nextCrash = w.now + w.between(20*time.Millisecond, 4*time.Second)
			if w.chance(60) {
				m.crash()
				down = true
			} else {
				armCrash(w, m)
			}
		}
		if down {
			rep.Crashes++
			w.after(w.between(0, 500*time.Millisecond), func() { reboot(w, m) })
		}
	}
	for _, c := range clients {
		rep.Operations += len(c.ops)
	}
	// The power stays on until everything acknowledged is in the state again.
	m.fs.Clear()
	for end := w.now + settleTime; w.now < end || !m.ready; {
		if !m.up {
			reboot(w, m)
		}
		if _, err := stepOrCrash(w, m); err != nil {
			return rep, err
		}
	}
	rep.Revision = int(m.machine.View().KV.Rev())
	if err := ls.check(); err != nil {
		return rep, err
	}
	if err := sameLogSameHash(m); err != nil {
		return rep, err
	}
	for i, x := range watchers {
		if err := x.check(m); err != nil {
			return rep, fmt.Errorf("watcher %d: %w", i, err)
		}
	}
	if res, _ := porcupine.CheckOperationsVerbose(keyModel, history(clients, w.now), 20*time.Second); res == porcupine.Illegal {
		return rep, errors.New("the clients' history is not linearizable")
	}
	return rep, nil
}

// armCrash makes the power go in the middle of one of the next operations on the disk.
func armCrash(w *world, m *member) {
	op := []vfs.Op{vfs.OpWrite, vfs.OpSync, vfs.OpRename, vfs.OpCreate, vfs.OpSyncDir}[w.rng.IntN(5)]
	m.fs.Sleep(func(time.Duration) { panic(crashed{}) })
	m.fs.Add(vfs.Rule{Op: op, Skip: w.rng.IntN(6), Times: 1, Delay: 1})
	w.note("the power will go during a %v", op)
}

// stepOrCrash runs the next event. down reports that the power went during it.
func stepOrCrash(w *world, m *member) (down bool, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case crashed:
			m.crash()
			down = true
		default:
			panic(p)
		}
	}()
	if !w.step() {
		return false, errors.New("nothing is left to happen")
	}
	return false, nil
}

func reboot(w *world, m *member) {
	if m.up {
		return
	}
	if err := m.boot(); err != nil {
		panic(failure{fmt.Errorf("the member does not start after a crash: %w", err)})
	}
}

func compactNow(w *world, m *member) {
	w.after(w.between(300*time.Millisecond, 3*time.Second), func() { compactNow(w, m) })
	if !m.up || !m.ready {
		return
	}
	rev := m.machine.View().KV.Rev() - w.rng.Int64N(20)
	m.propose(wire.KindCompaction, &pb.CompactionRequest{Revision: rev}, nil)
	if err := m.pump(); err != nil {
		panic(failure{err})
	}
}

// sameLogSameHash replays everything that was ever applied on a fresh machine, in batches of other sizes, and compares.
func sameLogSameHash(m *member) error {
	eng := mem.New()
	other, err := machine.Open(machine.Config{MinLeaseTTLSeconds: minLeaseTTL}, eng)
	if err != nil {
		return err
	}
	var eff machine.Effects
	left := m.committed[:m.machine.Applied()]
	for len(left) > 0 {
		n := min(len(left), 1+m.w.rng.IntN(50))
		if err := other.Apply(left[:n], &eff); err != nil {
			return err
		}
		eff.Reset()
		left = left[n:]
	}
	for _, x := range []*machine.Machine{m.machine, other} {
		for {
			if _, _, due := x.Compaction(); !due {
				break
			}
			if _, _, err = x.CompactStep(100); err != nil {
				return err
			}
		}
	}
	a, b := dump(m.eng), dump(eng)
	if a != b {
		return fmt.Errorf("the same log has led to different states:\n%s\n---\n%s", a, b)
	}
	return nil
}

// dump is the content of an engine as text.
func dump(e engine.Engine) string {
	var b strings.Builder
	for _, s := range engine.Spaces {
		_ = e.Scan(s, nil, nil, func(k, v []byte) bool {
			fmt.Fprintf(&b, "%v %q %q\n", s.Bucket(), k, v)
			return true
		})
	}
	return b.String()
}
