package ctl2

import (
	"context"

	"github.com/cairn-kv/cairn/internal/v2client"
)

func (a *app) getCommand() *command {
	var o v2client.GetOptions
	return &command{
		name: "get", short: "retrieve the value of a key", args: "<key>",
		options: []option{
			toggle(&o.Sorted, "returns result in sorted order", "sort"),
			toggle(&o.Quorum, "require quorum for get request", "quorum", "q"),
		},
		run: func(args []string) error {
			if len(args) == 0 {
				return required("key")
			}
			r, err := a.get(args[0], o)
			if err != nil {
				return err
			}
			if r.Node.Dir {
				return refuse("%s: is a directory", r.Node.Key)
			}
			return a.print(r)
		},
	}
}

func (a *app) get(key string, o v2client.GetOptions) (r *v2client.Result, err error) {
	err = a.call(func(ctx context.Context, c *v2client.Client) error {
		r, err = c.Get(ctx, key, o)
		return failed(exitServer, err)
	})
	return r, err
}

func (a *app) lsCommand() *command {
	var o v2client.GetOptions
	var slash bool
	return &command{
		name: "ls", short: "retrieve a directory", args: "[key]",
		options: []option{
			toggle(&o.Sorted, "returns result in sorted order", "sort"),
			toggle(&o.Recursive, "returns all key names recursively for the given path", "recursive", "r"),
			toggle(&slash, "append slash (/) to directories", "p"),
			toggle(&o.Quorum, "require quorum for get request", "quorum", "q"),
		},
		run: func(args []string) error {
			key := "/"
			if len(args) > 0 {
				key = args[0]
			}
			r, err := a.get(key, o)
			if err != nil {
				return err
			}
			if a.g.output != simple {
				return a.print(r)
			}
			if !r.Node.Dir {
				a.say("%s", r.Node.Key)
			}
			a.names(r.Node.Nodes, slash)
			return nil
		},
	}
}

// names shows the paths of nodes, each before what is below it.
func (a *app) names(nodes []*v2client.Node, slash bool) {
	for _, n := range nodes {
		if n.Dir && slash {
			a.say("%s/", n.Key)
		} else {
			a.say("%s", n.Key)
		}
		a.names(n.Nodes, slash)
	}
}
