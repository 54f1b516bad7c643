package ctl

import (
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cairn-kv/cairn/client"
)

// putOptions are the flags of put, which is also a request of txn.
type putOptions struct {
	lease                            string
	prevKV, ignoreValue, ignoreLease bool
}

func (o *putOptions) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.lease, "lease", "0", "lease ID (in hexadecimal) to attach to the key")
	f.BoolVar(&o.prevKV, "prev-kv", false, "return the previous key-value pair before modification")
	f.BoolVar(&o.ignoreValue, "ignore-value", false, "updates the key using its current value")
	f.BoolVar(&o.ignoreLease, "ignore-lease", false, "updates the key using its current lease")
}

// parse makes the operation. Without a value among the arguments it is all of
// stdin, to the last byte; a nil stdin is an error.
func (o *putOptions) parse(args []string, stdin io.Reader) (client.Op, error) {
	errNumber := badArgs("put command needs 1 argument and input from stdin or 2 arguments")
	if len(args) == 0 {
		return client.Op{}, errNumber
	}
	key, value := args[0], ""
	switch {
	case o.ignoreValue:
		if len(args) > 1 {
			return client.Op{}, badArgs("put command needs only 1 argument when 'ignore-value' is set")
		}
	case len(args) > 1:
		value = args[1]
	case stdin == nil:
		return client.Op{}, fail(exitInvalidInput, "put command needs a value here")
	default:
		b, err := io.ReadAll(stdin)
		if err != nil {
			return client.Op{}, err
		}
		if len(b) == 0 {
			return client.Op{}, errNumber
		}
		value = string(b)
	}
	id, err := strconv.ParseInt(o.lease, 16, 64)
	if err != nil {
		return client.Op{}, badArgs("bad lease ID (%w), expecting ID in Hex", err)
	}
	var opts []client.OpOption
	if id != 0 {
		opts = append(opts, client.WithLease(client.LeaseID(id)))
	}
	if o.prevKV {
		opts = append(opts, client.WithPrevKV())
	}
	if o.ignoreValue {
		opts = append(opts, client.WithIgnoreValue())
	}
	if o.ignoreLease {
		opts = append(opts, client.WithIgnoreLease())
	}
	return client.OpPut(key, value, opts...), nil
}

func (a *app) putCommand() *cobra.Command {
	var o putOptions
	cmd := &cobra.Command{
		Use:   "put [options] <key> <value> (<value> can also be given from stdin)",
		Short: "Puts the given key into the store",
		Long: `Puts the given key into the store.

A value that begins with '-' follows '--':

  etcdctl put key -- -1

Without a value, all of stdin is the value, the last newline included:

  printf %s "$value" | etcdctl put key`,
		RunE: func(cmd *cobra.Command, args []string) error {
			op, err := o.parse(args, a.Stdin)
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
			return out.print(putView(resp.Put()))
		},
	}
	o.addTo(cmd.Flags())
	return cmd
}
