package ctl2

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// mostPrograms bounds how many programs run at the same time. Changes wait when there are so many.
const mostPrograms = 1000

func (a *app) execWatchCommand() *command {
	var o v2client.WatchOptions
	return &command{
		name: "exec-watch", short: "watch a key for changes and exec an executable", args: "<key> <command> [args...]",
		options: []option{
			number(&o.AfterIndex, "watch after the given index", "after-index"),
			toggle(&o.Recursive, "watch all values for key and child keys", "recursive", "r"),
		},
		run: func(args []string) error {
			if len(args) < 2 {
				return failed(exitFailure, errors.New("key and command to exec required"))
			}
			running := make(chan struct{}, mostPrograms)
			return a.follow(args[0], o, func(ctx context.Context, r *v2client.Result) (bool, error) {
				if r.Node.Dir {
					a.warn("Ignored dir %s change", r.Node.Key)
					return false, nil
				}
				return false, a.start(ctx, running, r, args[1:])
			})
		},
	}
}

// start runs a program for a change and does not wait for it. The program may outlive this one.
func (a *app) start(ctx context.Context, running chan struct{}, r *v2client.Result, words []string) error {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdout, cmd.Stderr = a.Stdout, a.Stderr
	cmd.Env = append(slices.Clone(a.Environ),
		"ETCD_WATCH_ACTION="+r.Action,
		"ETCD_WATCH_MODIFIED_INDEX="+strconv.FormatUint(r.Node.ModifiedIndex, 10),
		"ETCD_WATCH_KEY="+r.Node.Key,
		"ETCD_WATCH_VALUE="+r.Node.Value)
	select {
	case running <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	if err := cmd.Start(); err != nil {
		return refused(err)
	}
	go func() {
		_ = cmd.Wait() // nobody asks how it went
		<-running
	}()
	return nil
}
