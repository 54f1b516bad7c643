// Package ctl is etcdctl: the commands of etcd's v3 command line client, their
// flags, environment, output formats and exit codes. It talks to servers through
// package client only and keeps no state. It must never know of cairn's server.
//
// A command works in this order: parse flags, check the arguments that need no
// server, apply the environment, build the configuration (asking for a password
// if need be), refuse an output format it does not have, connect, call, print.
package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

// The versions this tool claims to be.
const (
	Version    = "3.7.3"
	APIVersion = "3.7"
)

// Tool is another command line tool that runs in this process.
type Tool func(args []string, stdin io.Reader, stdout, stderr io.Writer) int

// Program is one invocation of etcdctl. The zero values of the fields below Args
// mean the process's own.
type Program struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string // NAME=value
	Context        context.Context
	Signals        <-chan os.Signal // what interrupts lock, elect and check

	// V2 serves ETCDCTL_API=2. Without it, that API is not supported.
	V2 Tool
	// Offline is etcdutl; it serves "snapshot status" and "snapshot restore",
	// which otherwise point to it.
	Offline Tool

	sleep func(context.Context, time.Duration) error // for tests
}

// Main runs etcdctl with the words after the program's name and returns the exit
// code.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := Program{Args: args, Stdin: stdin, Stdout: stdout, Stderr: stderr}
	return p.Run()
}

// app is the state of one run. One goroutine works on it, except for what goes
// to stdout and stderr, which is guarded.
type app struct {
	*Program
	root    *cobra.Command
	flags   globals
	client  *client.Client // the last one made, for its transport error
	applied bool           // the environment has been
}

// Run executes the program and returns its exit code.
func (p *Program) Run() int {
	a := &app{Program: p}
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
	if p.Context == nil {
		p.Context = context.Background()
	}
	if p.sleep == nil {
		p.sleep = sleep
	}
	p.Stdout, p.Stderr = guard(p.Stdout), guard(p.Stderr)
	switch api := a.env("ETCDCTL_API"); {
	case api == "2" && p.V2 != nil:
		return p.V2(p.Args, p.Stdin, p.Stdout, p.Stderr)
	case api != "" && api != "3":
		fmt.Fprintf(p.Stderr, "unsupported API version %s\n", api)
		return exitFailure
	}
	a.root = a.rootCommand()
	a.root.SetArgs(p.Args)
	a.root.SetIn(p.Stdin)
	a.root.SetOut(p.Stdout)
	a.root.SetErr(p.Stderr)
	return a.report(a.root.ExecuteContext(p.Context))
}

// report writes a command's error where it belongs and picks the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	code := exitFailure
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.silent {
			return code
		}
	}
	text := err.Error()
	if errors.Is(err, context.DeadlineExceeded) && a.client != nil {
		if cause := a.client.TransportError(); cause != "" && !strings.Contains(text, cause) {
			text += ": " + cause
		}
	}
	fmt.Fprintln(a.Stderr, "Error:", text)
	if usage, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprint(a.Stderr, usage.text)
	}
	return code
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

// interruptible ends ctx with SIGINT or SIGTERM.
func (a *app) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.Signals == nil {
		return signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.Signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
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

// guarded is a writer for several goroutines; one Write stays in one piece.
type guarded struct {
	mu sync.Mutex
	w  io.Writer
}

func guard(w io.Writer) io.Writer {
	if _, ok := w.(*os.File); ok {
		return w // the system keeps a write in one piece
	}
	return &guarded{w: w}
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(p)
}

// helpText is the help of a command with the line that follows every help.
func helpText(cmd *cobra.Command) string {
	var b bytes.Buffer
	if text := cmd.Long; text != "" {
		fmt.Fprintf(&b, "%s\n\n", strings.TrimSpace(text))
	} else if cmd.Short != "" {
		fmt.Fprintf(&b, "%s\n\n", cmd.Short)
	}
	b.WriteString(cmd.UsageString())
	b.WriteString("\nUse \"etcdctl options\" for a list of global command-line options (applies to all commands).\n")
	return b.String()
}
