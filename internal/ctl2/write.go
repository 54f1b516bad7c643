package ctl2

import (
	"context"
	"fmt"
	"io"

	"github.com/cairn-kv/cairn/internal/v2client"
)

const ttlText = "key time-to-live in seconds"

// setDescription warns of what goes wrong often.
const setDescription = `   A value that begins with '-' is read as a flag. Two dashes end the flags:

   set -- <key> <value>`

// mostValue bounds what is read of standard input. Servers take less.
const mostValue = 64 << 20

// keyValue are the arguments of a command that writes a key. A value that is not there is all of standard input.
func (a *app) keyValue(args []string) (key, value string, err error) {
	switch len(args) {
	case 0:
		return "", "", required("key")
	case 1:
		b, err := io.ReadAll(io.LimitReader(a.Stdin, mostValue+1))
		switch {
		case err != nil:
			return "", "", failed(exitFailure, err)
		case len(b) == 0:
			return "", "", required("value")
		case len(b) > mostValue:
			return "", "", failed(exitFailure, fmt.Errorf("the value has more than %d bytes", mostValue))
		}
		return args[0], string(b), nil
	}
	return args[0], args[1], nil
}

// write sends one change and shows what it led to.
func (a *app) write(show func(*v2client.Result) error, f func(context.Context, *v2client.Client) (*v2client.Result, error)) error {
	return a.call(func(ctx context.Context, c *v2client.Client) error {
		r, err := f(ctx, c)
		if err != nil {
			return failed(exitServer, err)
		}
		return show(r)
	})
}

func (a *app) set(key, value string, o v2client.SetOptions) error {
	return a.write(a.print, func(ctx context.Context, c *v2client.Client) (*v2client.Result, error) {
		return c.Set(ctx, key, value, o)
	})
}

func (a *app) setCommand() *command {
	var o v2client.SetOptions
	return &command{
		name: "set", short: "set the value of a key", args: "<key> <value>", long: setDescription,
		options: []option{
			number(&o.TTLSeconds, ttlText, "ttl"),
			text(&o.PrevValue, "previous value", "swap-with-value"),
			number(&o.PrevIndex, "previous index", "swap-with-index"),
		},
		run: func(args []string) error {
			key, value, err := a.keyValue(args)
			if err != nil {
				return err
			}
			return a.set(key, value, o)
		},
	}
}

func (a *app) mkCommand() *command {
	var ttl uint64
	var inOrder bool
	return &command{
		name: "mk", short: "make a new key with a given value", args: "<key> <value>",
		options: []option{
			toggle(&inOrder, "create in-order key under directory <key>", "in-order"),
			number(&ttl, ttlText, "ttl"),
		},
		run: func(args []string) error {
			key, value, err := a.keyValue(args)
			if err != nil {
				return err
			}
			if inOrder {
				return a.write(a.print, func(ctx context.Context, c *v2client.Client) (*v2client.Result, error) {
					return c.CreateInOrder(ctx, key, value, ttl)
				})
			}
			return a.set(key, value, v2client.SetOptions{PrevExist: v2client.Absent, TTLSeconds: ttl})
		},
	}
}

func (a *app) updateCommand() *command {
	o := v2client.SetOptions{PrevExist: v2client.Exists}
	return &command{
		name: "update", short: "update an existing key with a given value", args: "<key> <value>",
		options: []option{number(&o.TTLSeconds, ttlText, "ttl")},
		run: func(args []string) error {
			key, value, err := a.keyValue(args)
			if err != nil {
				return err
			}
			return a.set(key, value, o)
		},
	}
}

// dirCommand is a command that makes or changes a directory.
func (a *app) dirCommand(name, short, shown string, when v2client.Existence) *command {
	o := v2client.SetOptions{Dir: true, PrevExist: when}
	return &command{
		name: name, short: short, args: shown,
		options: []option{number(&o.TTLSeconds, ttlText, "ttl")},
		run: func(args []string) error {
			if len(args) == 0 {
				return required("key")
			}
			// What comes back of updatedir may be a key: it is silent all the same.
			return a.write(a.printUnlessSimple, func(ctx context.Context, c *v2client.Client) (*v2client.Result, error) {
				return c.Set(ctx, args[0], "", o)
			})
		},
	}
}

func (a *app) mkdirCommand() *command {
	return a.dirCommand("mkdir", "make a new directory", "<key>", v2client.Absent)
}

func (a *app) setdirCommand() *command {
	return a.dirCommand("setdir", "create a new directory or update an existing directory TTL", "<key>", v2client.Whatever)
}

func (a *app) updatedirCommand() *command {
	return a.dirCommand("updatedir", "update an existing directory", "<key> <value>", v2client.Exists)
}
