package measure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cairn-kv/cairn/bench/process"
	"github.com/cairn-kv/cairn/bench/report"
)

// Run measures both programs.
type Run struct {
	Etcd, Cairn process.Program
	EtcdV2      process.Program // the etcd that has the v2 API; without one its rows are left out
	Dir         string          // for the data of both
	Plan        Plan
	Profiles    string // folder for a profile of each work on each server; they cost processor time. "" for none
	Want        func(work string) bool
	Log         func(format string, args ...any)

	rows map[string]*report.Row
	out  *report.Report
	next int // folder
}

// Do runs everything that is wanted, and gives what there is also when it fails.
func (r *Run) Do(ctx context.Context) (*report.Report, error) {
	m, err := report.ThisMachine(r.Dir)
	r.out = &report.Report{Machine: m, Rounds: r.Plan.Rounds, Keys: r.Plan.Keys}
	r.rows = map[string]*report.Row{}
	for _, sc := range scenes(&r.Plan) {
		if sc = sc.selected(r.Want); err == nil && sc != nil {
			if sc.v2 && r.EtcdV2.Path == "" {
				r.Log("left out: there is no etcd with the v2 API to compare with: %d rows", len(sc.rows))
				continue
			}
			if sc.members > 0 {
				err = r.rounds(ctx, sc)
			} else {
				err = r.play(ctx, sc)
			}
		}
	}
	return r.out, err
}

// Works are the names of all rows that are wanted.
func (r *Run) Works() (works []string) {
	for _, sc := range scenes(&r.Plan) {
		if sc.v2 && r.EtcdV2.Path == "" {
			continue
		}
		for sc = sc.selected(r.Want); sc != nil; sc = sc.then {
			for _, w := range sc.rows {
				works = append(works, w.work)
			}
		}
	}
	return works
}

type pair [2]*subject

func (r *Run) play(ctx context.Context, sc *scene) (err error) {
	var p pair
	defer func() { err = errors.Join(err, p.end()) }()
	programs, args := []process.Program{r.Etcd, r.Cairn}, r.args()
	if sc.v2 {
		programs[0], args = r.EtcdV2, append(args, "--enable-v2")
	}
	begin := newSubject
	if sc.secure {
		begin = newSecureSubject
	}
	for i, program := range programs {
		if p[i], err = begin(ctx, program, r.folder(program.Kind), &r.Plan, args...); err != nil {
			return err
		}
		if err = p[i].Pause(); err != nil {
			return err
		}
	}
	for ; sc != nil && err == nil; sc = sc.then {
		err = r.act(ctx, sc, p)
	}
	return err
}

// args are the same for both: a quota that no row reaches.
func (r *Run) args() []string {
	args := []string{"--quota-backend-bytes", "8589934592"}
	if r.Profiles != "" {
		args = append(args, "--enable-pprof")
	}
	return args
}

func (r *Run) folder(k process.Kind) string {
	r.next++
	return filepath.Join(r.Dir, fmt.Sprintf("%s-%d", k, r.next))
}

// end removes the servers with their data.
func (p pair) end() (err error) {
	for _, s := range p {
		if s != nil {
			err = errors.Join(err, s.Resume(), s.Kill(), os.RemoveAll(s.Dir))
		}
	}
	return err
}

// act plays one scene on servers that are paused, and leaves them so.
func (r *Run) act(ctx context.Context, sc *scene, p pair) error {
	if sc.prepare != nil {
		for _, s := range p {
			begin := time.Now()
			if err := s.awake(func() error { return sc.prepare(ctx, s) }); err != nil {
				return err
			}
			r.Log("%s prepared in %.1f s", s.Program.Kind, time.Since(begin).Seconds())
		}
	}
	if sc.copies {
		if err := p.keep(); err != nil {
			return err
		}
	}
	for round := range r.Plan.Rounds {
		if err := r.round(ctx, sc, p, round); err != nil {
			return err
		}
	}
	return nil
}

// keep ends the servers in order and leaves their data for copies.
func (p pair) keep() error {
	for _, s := range p {
		if err := errors.Join(s.Resume(), s.Stop()); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) round(ctx context.Context, sc *scene, p pair, round int) (err error) {
	if sc.copies {
		var c pair
		defer func() { err = errors.Join(err, c.end()) }()
		for i, s := range p {
			if c[i], err = r.copy(ctx, s); err != nil {
				return err
			}
		}
		p = c
	}
	for _, w := range sc.rows {
		if w.once && round > 0 {
			continue
		}
		for _, s := range p {
			if err := r.measure(ctx, w, s); err != nil {
				return fmt.Errorf("%s: %w\n%s", w.work, err, s.LogTail())
			}
		}
	}
	return nil
}

// copy starts a server on a copy of the other's data, and pauses it.
func (r *Run) copy(ctx context.Context, s *subject) (*subject, error) {
	dir := r.folder(s.Program.Kind)
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(s.DataDir())); err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	syscall.Sync() // else the first sync of the server would pay for the copy
	c, err := newSubject(ctx, s.Program, dir, s.plan, r.args()...)
	if err != nil {
		return nil, err
	}
	return c, c.Pause()
}

func (r *Run) measure(ctx context.Context, w row, s *subject) error {
	out := r.rows[w.work]
	if out == nil {
		out = &report.Row{Work: w.work, Targets: w.targets}
		r.rows[w.work] = out
		r.out.Rows = append(r.out.Rows, out)
	}
	var sample report.Sample
	begin := time.Now()
	err := s.awake(func() (err error) {
		profiled := make(chan error, 1)
		go func() {
			defer close(profiled)
			if r.Profiles != "" {
				profiled <- s.profile(ctx, r.Profiles, w.work)
			}
		}()
		sample, err = w.measure(ctx, s)
		if e := <-profiled; e != nil {
			r.Log("no profile of %s: %v", w.work, e) // a restart ends it
		}
		return err
	})
	if err != nil {
		return err
	}
	r.Log("%-5s %s: %s (%.1f s)", s.Program.Kind, w.work, sample, time.Since(begin).Seconds())
	if s.Program.Kind == process.Etcd {
		out.Etcd = append(out.Etcd, sample)
	} else {
		out.Cairn = append(out.Cairn, sample)
	}
	return nil
}

// awake does something with the server while it runs. f may start the process anew.
func (s *subject) awake(f func() error) error {
	if s.members != nil {
		return f()
	}
	if err := s.Resume(); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return s.Pause()
}
