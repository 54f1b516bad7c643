package ctl

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cairn-kv/cairn/client"
)

// getOptions are the flags of get, which is also a request of txn.
type getOptions struct {
	consistency, order, sortBy string
	limit, rev                 int64
	prefix, fromKey            bool
	keysOnly, countOnly        bool
	valueOnly, stream          bool
	minCreate, maxCreate       int64
	minMod, maxMod             int64
}

func (o *getOptions) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.consistency, "consistency", "l", "Linearizable(l) or Serializable(s)")
	f.StringVar(&o.order, "order", "", "Order of results; ASCEND or DESCEND (ASCEND by default)")
	f.StringVar(&o.sortBy, "sort-by", "", "Sort target; CREATE, KEY, MODIFY, VALUE, or VERSION")
	f.Int64Var(&o.limit, "limit", 0, "Maximum number of results")
	f.BoolVar(&o.prefix, "prefix", false, "Get keys with matching prefix")
	f.BoolVar(&o.fromKey, "from-key", false, "Get keys that are greater than or equal to the given key using byte compare")
	f.Int64Var(&o.rev, "rev", 0, "Specify the kv revision")
	f.BoolVar(&o.keysOnly, "keys-only", false, "Get only the keys")
	f.BoolVar(&o.countOnly, "count-only", false, "Get only the count")
	f.BoolVar(&o.valueOnly, "print-value-only", false, `Only write values when using the "simple" output format`)
	f.Int64Var(&o.minCreate, "min-create-rev", 0, "Minimum create revision")
	f.Int64Var(&o.maxCreate, "max-create-rev", 0, "Maximum create revision")
	f.Int64Var(&o.minMod, "min-mod-rev", 0, "Minimum modification revision")
	f.Int64Var(&o.maxMod, "max-mod-rev", 0, "Maximum modification revision")
	f.BoolVar(&o.stream, "stream", false, "Read the range in chunks (RangeStream)")
}

// parse turns flags and arguments into a key and the options of the request.
func (o *getOptions) parse(args []string) (string, []client.OpOption, error) {
	if len(args) == 0 {
		return "", nil, badArgs("get command needs one argument as key and an optional argument as range_end")
	}
	if o.prefix && o.fromKey {
		return "", nil, errPrefixAndFromKey
	}
	if o.keysOnly && o.countOnly {
		return "", nil, badArgs("`--keys-only` and `--count-only` cannot be set at the same time, choose one")
	}
	var opts []client.OpOption
	switch o.consistency {
	case "l":
	case "s":
		opts = append(opts, client.WithSerializable())
	default:
		return "", nil, fail(exitBadFeature, "unknown consistency flag %q", o.consistency)
	}
	key := args[0]
	switch {
	case len(args) > 1 && (o.prefix || o.fromKey):
		return "", nil, badArgs("too many arguments, only accept one argument when `--prefix` or `--from-key` is set")
	case len(args) > 1:
		opts = append(opts, client.WithRange(args[1]))
	case o.prefix:
		opts = append(opts, client.WithPrefix())
	case o.fromKey:
		opts = append(opts, client.WithFromKey())
	}
	sorted, err := o.sort()
	if err != nil {
		return "", nil, err
	}
	opts = append(opts, sorted, client.WithLimit(o.limit))
	if o.rev > 0 {
		opts = append(opts, client.WithRev(o.rev))
	}
	if o.keysOnly {
		opts = append(opts, client.WithKeysOnly())
	}
	if o.countOnly {
		opts = append(opts, client.WithCountOnly())
	}
	for _, r := range []struct {
		name     string
		min, max int64
		withMin  func(int64) client.OpOption
		withMax  func(int64) client.OpOption
	}{
		{"CreateRev", o.minCreate, o.maxCreate, client.WithMinCreateRev, client.WithMaxCreateRev},
		{"ModRev", o.minMod, o.maxMod, client.WithMinModRev, client.WithMaxModRev},
	} {
		if r.max > 0 && r.min > r.max {
			return "", nil, fail(exitBadFeature, "getMin%s(=%d) > getMax%s(=%d)", r.name, r.min, r.name, r.max)
		}
		if r.min > 0 {
			opts = append(opts, r.withMin(r.min))
		}
		if r.max > 0 {
			opts = append(opts, r.withMax(r.max))
		}
	}
	return key, opts, nil
}

var errPrefixAndFromKey = badArgs("`--prefix` and `--from-key` cannot be set at the same time, choose one")

func (o *getOptions) sort() (client.OpOption, error) {
	orders := map[string]client.SortOrder{
		"": client.SortNone, "ASCEND": client.SortAscend, "DESCEND": client.SortDescend,
	}
	targets := map[string]client.SortTarget{
		"": client.SortByKey, "CREATE": client.SortByCreateRevision, "KEY": client.SortByKey,
		"MODIFY": client.SortByModRevision, "VALUE": client.SortByValue, "VERSION": client.SortByVersion,
	}
	order, ok := orders[strings.ToUpper(o.order)]
	if !ok {
		return nil, fail(exitBadFeature, "bad sort order %v", o.order)
	}
	target, ok := targets[strings.ToUpper(o.sortBy)]
	if !ok {
		return nil, fail(exitBadFeature, "bad sort target %v", o.sortBy)
	}
	return client.WithSort(target, order), nil
}

func (a *app) getCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get [options] <key> [range_end]",
		Short: "Gets the key or a range of keys",
		RunE: func(cmd *cobra.Command, args []string) error {
			key, opts, err := o.parse(args)
			if err != nil {
				return err
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			if o.valueOnly && out.format != simple {
				return badArgs("print-value-only is only for `--write-out=simple`")
			}
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := o.run(ctx, c, key, opts)
			if err != nil {
				return err
			}
			return out.print(getView(resp, o.valueOnly, o.countOnly))
		},
	}
	o.addTo(cmd.Flags())
	_ = cmd.RegisterFlagCompletionFunc("consistency", words("l", "s"))
	_ = cmd.RegisterFlagCompletionFunc("order", words("ASCEND", "DESCEND"))
	_ = cmd.RegisterFlagCompletionFunc("sort-by", words("CREATE", "KEY", "MODIFY", "VALUE", "VERSION"))
	return cmd
}

func (o *getOptions) run(ctx context.Context, c *client.Client, key string, opts []client.OpOption) (*client.GetResponse, error) {
	if !o.stream {
		return c.Get(ctx, key, opts...)
	}
	chunks, err := c.GetStream(ctx, key, opts...)
	if err != nil {
		return nil, err
	}
	return client.GetStreamToGetResponse(chunks)
}
