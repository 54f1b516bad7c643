package ctl2

import (
	"context"
	"os"
	"os/signal"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// interruptible ends with the process's interrupt.
func (a *app) interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(a.Context, os.Interrupt)
}

func (a *app) watchCommand() *command {
	var o v2client.WatchOptions
	var forever bool
	return &command{
		name: "watch", short: "watch a key for changes", args: "<key>",
		options: []option{
			toggle(&forever, "forever watch a key until CTRL+C", "forever", "f"),
			number(&o.AfterIndex, "watch after the given index", "after-index"),
			toggle(&o.Recursive, "returns all values for key and child keys", "recursive", "r"),
		},
		run: func(args []string) error {
			if len(args) == 0 {
				return required("key")
			}
			return a.follow(args[0], o, func(_ context.Context, r *v2client.Result) (bool, error) {
				if r.Node.Dir {
					return false, nil // W-C03
				}
				if o.Recursive {
					a.say("[%s] %s", r.Action, r.Node.Key)
				}
				return !forever, a.print(r)
			})
		},
	}
}

// follow calls f with each change of a key until f has seen enough or the user has.
func (a *app) follow(key string, o v2client.WatchOptions, f func(context.Context, *v2client.Result) (enough bool, err error)) error {
	ctx, stop := a.interruptible()
	defer stop()
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	w := c.Watch(key, o)
	for {
		r, err := w.Next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return failed(exitServer, err)
		}
		if enough, err := f(ctx, r); enough || err != nil {
			return err
		}
	}
}
