package ctl2

import (
	"context"

	"github.com/cairn-kv/cairn/internal/v2client"
)

func (a *app) remove(args []string, o v2client.DeleteOptions) error {
	if len(args) == 0 {
		return required("key")
	}
	return a.write(a.printUnlessDir, func(ctx context.Context, c *v2client.Client) (*v2client.Result, error) {
		return c.Delete(ctx, args[0], o)
	})
}

func (a *app) rmCommand() *command {
	var o v2client.DeleteOptions
	return &command{
		name: "rm", short: "remove a key or a directory", args: "<key>",
		options: []option{
			toggle(&o.Dir, "removes the key if it is an empty directory or a key-value pair", "dir"),
			toggle(&o.Recursive, "removes the key and all child keys(if it is a directory)", "recursive", "r"),
			text(&o.PrevValue, "previous value", "with-value"),
			number(&o.PrevIndex, "previous index", "with-index"),
		},
		run: func(args []string) error { return a.remove(args, o) },
	}
}

func (a *app) rmdirCommand() *command {
	return &command{
		name: "rmdir", short: "removes the key if it is an empty directory or a key-value pair", args: "<key>",
		run: func(args []string) error { return a.remove(args, v2client.DeleteOptions{Dir: true}) },
	}
}
