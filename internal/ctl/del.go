package ctl

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cairn-kv/cairn/client"
)

// delGrace is the time to think again before a range is deleted by two words
// that may have been meant as two keys.
const delGrace = 2 * time.Second

// delOptions are the flags of del, which is also a request of txn.
type delOptions struct {
	prefix, prevKV, fromKey, isRange bool
}

func (o *delOptions) addTo(f *pflag.FlagSet) {
	f.BoolVar(&o.prefix, "prefix", false, "delete keys with matching prefix")
	f.BoolVar(&o.prevKV, "prev-kv", false, "return deleted key-value pairs")
	f.BoolVar(&o.fromKey, "from-key", false, "delete keys that are greater than or equal to the given key using byte compare")
	f.BoolVar(&o.isRange, "range", false, "delete range of keys without delay")
}

// parse makes the operation, after the warning that an unmarked range gets.
func (o *delOptions) parse(ctx context.Context, a *app, args []string) (client.Op, error) {
	if len(args) == 0 || len(args) > 2 {
		return client.Op{}, badArgs("del command needs one argument as key and an optional argument as range_end")
	}
	if o.prefix && o.fromKey {
		return client.Op{}, errPrefixAndFromKey
	}
	var opts []client.OpOption
	if o.prevKV {
		opts = append(opts, client.WithPrevKV())
	}
	switch {
	case len(args) == 2 && (o.prefix || o.fromKey):
		return client.Op{}, badArgs("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	case len(args) == 2:
		if !o.isRange {
			fmt.Fprintf(a.Stderr, "Warning: Keys between %q and %q will be deleted. Please interrupt the command within next 2 seconds to cancel. You can provide `--range` flag to avoid the delay.\n", args[0], args[1])
			if err := a.sleep(ctx, delGrace); err != nil {
				return client.Op{}, err
			}
		}
		opts = append(opts, client.WithRange(args[1]))
	case o.prefix:
		opts = append(opts, client.WithPrefix())
	case o.fromKey:
		opts = append(opts, client.WithFromKey())
	}
	return client.OpDelete(args[0], opts...), nil
}

func (a *app) delCommand() *cobra.Command {
	var o delOptions
	cmd := &cobra.Command{
		Use:   "del [options] <key> [range_end]",
		Short: "Removes the specified key or range of keys [key, range_end)",
		RunE: func(cmd *cobra.Command, args []string) error {
			op, err := o.parse(cmd.Context(), a, args)
			if err != nil {
				return err
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.Do(ctx, op)
			if err != nil {
				return err
			}
			return out.print(delView(resp.Del()))
		},
	}
	o.addTo(cmd.Flags())
	return cmd
}
