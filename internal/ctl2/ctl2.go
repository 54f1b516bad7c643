// Package ctl2 is etcdctl in v2 mode: the commands of etcd 3.1.5, their grammar, output formats and exit codes. It talks to
// servers through package v2client only and keeps no state.
//
// A command works in this order: parse the words, check the arguments that need no server, ask for passwords, find the
// endpoints, learn those that the cluster publishes, call, print.
//
// It must never know of cairn's server or of the v3 commands. The one thing that it does with a member's files, a backup, it
// is given as a function.
package ctl2

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// Program is one invocation. The zero values of the fields below Version mean the process's own.
type Program struct {
	Args    []string // without the program's name
	Version string   // of the tool, which it is asked for

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string        // NAME=value
	Context        context.Context // its end is what an interrupt is
	Resolver       v2client.Resolver
	// Backup copies a member's files for a new cluster. Without it, there is no such command.
	Backup func(Backup) error

	sleep func(context.Context, time.Duration) error // for tests
}

// Backup says where the files of a member are, and where their copy goes. The directories of the log may be "": then they
// are inside.
type Backup struct {
	DataDir, WALDir         string
	BackupDir, BackupWALDir string
}

// app is the state of one run. One goroutine works on it.
type app struct {
	*Program
	g    globals
	used time.Duration // of --total-timeout
}

// Run executes the program and returns its exit code.
func (p *Program) Run() int {
	if p.Stdin == nil {
		p.Stdin = os.Stdin
	}
	if p.Stdout == nil {
		p.Stdout = os.Stdout
	}
	if p.Stderr == nil {
		p.Stderr = os.Stderr
	}
	if p.Environ == nil {
		p.Environ = os.Environ()
	}
	// What exec-watch starts must not see which API its parent spoke (G-03).
	p.Environ = slices.DeleteFunc(slices.Clone(p.Environ), func(kv string) bool { return strings.HasPrefix(kv, "ETCDCTL_API=") })
	if p.Context == nil {
		p.Context = context.Background()
	}
	if p.Resolver == nil {
		p.Resolver = net.DefaultResolver
	}
	if p.sleep == nil {
		p.sleep = sleep
	}
	a := &app{Program: p}
	return a.report(a.dispatch(a.rootCommand(), p.Args))
}

// env looks a variable up, "" when it is unset.
func (a *app) env(name string) string {
	value := ""
	for _, kv := range a.Environ {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

func (a *app) say(format string, args ...any)  { fmt.Fprintf(a.Stdout, format+"\n", args...) }
func (a *app) warn(format string, args ...any) { fmt.Fprintf(a.Stderr, format+"\n", args...) }

// timed is a context that ends when the command has used up its time. done counts what was used: waiting for somebody to
// type a password is not.
func (a *app) timed() (ctx context.Context, done func()) {
	if a.g.totalTimeout == 0 {
		return a.Context, func() {}
	}
	begin := time.Now()
	ctx, cancel := context.WithTimeout(a.Context, a.g.totalTimeout-a.used)
	return ctx, func() {
		cancel()
		a.used += time.Since(begin)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
