// Command bench measures cairn, built from this tree, against the etcd that this module requires: the same work on both in
// turn, in one run, on one disk. It prints one table of ratios.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/cairn-kv/cairn/bench/measure"
	"github.com/cairn-kv/cairn/bench/process"
	"github.com/cairn-kv/cairn/bench/report"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("dir", "", "folder for the data of both servers; the user's cache folder if not given")
	only := flag.String("only", "", "measure only the work that this regular expression matches")
	rounds := flag.Int("rounds", 0, "rounds; 3 if not given")
	quick := flag.Bool("quick", false, "less of everything: one round, a fifth of the keys")
	list := flag.Bool("list", false, "print the names of the work, and end")
	markdown := flag.Bool("markdown", false, "print the table as markdown")
	file := flag.String("json", "", "also write every sample to this file")
	show := flag.String("show", "", "print the table of a file that -json wrote, and measure nothing")
	profiles := flag.String("profiles", "", "folder for a CPU profile of each server at each work; the figures are worse for it")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("bench: %q is no flag", flag.Arg(0))
	}
	want, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	plan := measure.Full()
	if *quick {
		plan = measure.Quick()
	}
	if *rounds > 0 {
		plan.Rounds = *rounds
	}
	begin := time.Now()
	r := &measure.Run{Plan: plan, Profiles: *profiles, Want: want.MatchString, Log: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}}
	r.EtcdV2, _ = process.V2Etcd()
	if *list {
		for _, w := range r.Works() {
			fmt.Println(w)
		}
		return nil
	}
	if *show != "" {
		return again(*show, *markdown)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return bench(ctx, r, *dir, *markdown, *file)
}

func bench(ctx context.Context, r *measure.Run, dir string, markdown bool, file string) (err error) {
	if dir == "" {
		if dir, err = os.UserCacheDir(); err != nil {
			return err
		}
	}
	for _, d := range []string{dir, r.Profiles} {
		if err := os.MkdirAll(d, 0o700); d != "" && err != nil {
			return err
		}
	}
	if r.Dir, err = os.MkdirTemp(dir, "cairn-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(r.Dir)
	if r.Etcd, r.Cairn, err = process.Build(filepath.Join(r.Dir, "bin")); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the client's collector would take the servers' processors
	rep, failed := r.Do(ctx)
	if rep.Machine.Filesystem == "tmpfs" {
		fmt.Fprintln(os.Stderr, "bench: the data is in memory (tmpfs), where a sync costs nothing: give a -dir on a disk")
	}
	if err := print(rep, markdown, file); err != nil {
		return err
	}
	return failed
}

// again prints an earlier report.
func again(file string, markdown bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	rep, err := report.Read(f)
	if err != nil {
		return err
	}
	return print(rep, markdown, "")
}

func print(rep *report.Report, markdown bool, file string) error {
	if markdown {
		if err := rep.WriteMarkdown(os.Stdout); err != nil {
			return err
		}
	} else if err := rep.WriteTable(os.Stdout); err != nil {
		return err
	}
	if missed := rep.Missed(); len(missed) > 0 {
		fmt.Fprintf(os.Stderr, "bench: %d of %d works miss a target\n", len(missed), len(rep.Rows))
	}
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := rep.WriteJSON(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
