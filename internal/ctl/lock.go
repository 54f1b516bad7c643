package ctl

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/client/concurrency"
)

const (
	unlockLimit   = 5 * time.Second  // for giving a lock or leadership back
	killGrace     = 10 * time.Second // between SIGTERM and SIGKILL
	electTTL      = 60               // seconds
	defaultLocked = 10               // seconds, TTL of a lock's session
)

func (a *app) lockCommand() *cobra.Command {
	var ttl int
	cmd := &cobra.Command{
		Use:   "lock <lockname> [exec-command arg1 arg2 ...]",
		Short: "Acquires a named lock",
		Long: `Acquires a named lock and holds it until it is interrupted, or while a command
runs. Flags of the command follow "--".

The command finds ETCD_LOCK_KEY, ETCD_LOCK_REV and ETCD_LOCK_CREATE_REV in its
environment; the last one grows with every owner and serves as a fencing token.
When the session is lost the command gets SIGTERM, and SIGKILL after 10 seconds.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return badArgs("lock takes a lock name argument and an optional command to execute")
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			return a.holdLock(cmd.Context(), c, out, ttl, args[0], args[1:])
		},
	}
	cmd.Flags().IntVar(&ttl, "ttl", defaultLocked, "timeout for session in seconds")
	return cmd
}

func (a *app) holdLock(ctx context.Context, c *client.Client, out *output, ttl int, name string, command []string) error {
	ctx, stop := a.interruptible(ctx)
	defer stop()
	s, err := concurrency.NewSession(c, concurrency.WithTTL(ttl), concurrency.WithContext(ctx))
	if err != nil {
		return err
	}
	m := concurrency.NewMutex(s, name)
	defer giveBack(c, s) // the key goes with the lease
	if err := m.Lock(ctx); err != nil {
		return lostOr(s, err, "session expired")
	}
	if len(command) > 0 {
		return a.runLocked(ctx, s, m, command)
	}
	resp, err := c.Get(ctx, m.Key())
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return errors.New("lock lost on init")
	}
	if err := out.print(getView(resp, false, false)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.Done():
		if ctx.Err() != nil {
			return nil
		}
		return errors.New("session expired")
	}
}

// giveBack ends the session and revokes its lease, which deletes its key. It has
// its own limit, because the command's context may be over.
func giveBack(c *client.Client, s *concurrency.Session) {
	s.Orphan()
	ctx, cancel := context.WithTimeout(c.Ctx(), unlockLimit)
	defer cancel()
	_, _ = c.Revoke(ctx, s.Lease()) // otherwise it expires
}

// lostOr is err, or lost when the session's end is behind it.
func lostOr(s *concurrency.Session, err error, lost string) error {
	if errors.Is(err, concurrency.ErrSessionExpired) {
		return errors.New(lost)
	}
	return err
}

// runLocked runs the command under the lock and passes its exit code on.
func (a *app) runLocked(ctx context.Context, s *concurrency.Session, m *concurrency.Mutex, command []string) error {
	// Losing the session and being interrupted end the command alike.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.Ctx(), func() { cancel(errors.New("session expired")) })()

	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Stdout, c.Stderr = a.Stdout, a.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = killGrace
	c.Env = append([]string{}, a.Environ...)
	for name, value := range map[string]string{
		"ETCD_LOCK_KEY":        m.Key(),
		"ETCD_LOCK_REV":        fmt.Sprint(m.Header().GetRevision()),
		"ETCD_LOCK_CREATE_REV": fmt.Sprint(m.Rev()),
	} {
		if !a.isSet(name) { // what the caller set wins
			c.Env = append(c.Env, name+"="+value)
		}
	}
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code := exit.ExitCode()
		if code < 0 {
			code = exitFailure // killed by a signal
		}
		return withCode(code, errors.New(strings.TrimSpace(exit.Error())))
	}
	return err
}

func (a *app) electCommand() *cobra.Command {
	var listen bool
	cmd := &cobra.Command{
		Use:   "elect <election-name> [proposal]",
		Short: "Observes and participates in leader election",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) != 1 && len(args) != 2:
				return badArgs("elect takes one election name argument and an optional proposal argument")
			case len(args) == 1 && !listen:
				return badArgs("no proposal argument but -l not set")
			case len(args) == 2 && listen:
				return badArgs("proposal given but -l is set")
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			s, err := concurrency.NewSession(c, concurrency.WithTTL(electTTL), concurrency.WithContext(ctx))
			if err != nil {
				return err
			}
			defer giveBack(c, s)
			e := concurrency.NewElection(s, args[0])
			if listen {
				return observe(ctx, e, out)
			}
			return campaign(ctx, c, s, e, args[1], out)
		},
	}
	cmd.Flags().BoolVarP(&listen, "listen", "l", false, "observation mode")
	return cmd
}

func observe(ctx context.Context, e *concurrency.Election, out *output) error {
	for resp := range e.Observe(ctx) {
		if err := out.print(getView(resp, false, false)); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("elect: observer lost")
}

func campaign(ctx context.Context, c *client.Client, s *concurrency.Session, e *concurrency.Election, proposal string, out *output) error {
	if err := e.Campaign(ctx, proposal); err != nil {
		return lostOr(s, err, "elect: session expired")
	}
	resp, err := c.Get(ctx, e.Key())
	if err != nil {
		return err
	}
	if err := out.print(getView(resp, false, false)); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		resignCtx, cancel := context.WithTimeout(c.Ctx(), unlockLimit)
		defer cancel()
		return e.Resign(resignCtx)
	case <-s.Done():
		if ctx.Err() != nil {
			return nil
		}
		return errors.New("elect: session expired")
	}
}
