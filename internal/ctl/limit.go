package ctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

func (a *app) limitCommand() *cobra.Command {
	return group("limit", "Limits of users and prefixes related commands", a.limitSet(), a.limitRemove(), a.limitList())
}

// limitTarget are the flags that say whom or what a limit is for. --user is the global flag that says who asks.
type limitTarget struct{ user, prefix string }

func (f *limitTarget) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.user, "for-user", "", "the user that is limited")
	cmd.Flags().StringVar(&f.prefix, "prefix", "", "the prefix of the keys that are limited; '' for all keys")
}

func (f *limitTarget) get(cmd *cobra.Command) (client.LimitTarget, error) {
	user, prefix := cmd.Flags().Changed("for-user"), cmd.Flags().Changed("prefix")
	switch {
	case user == prefix:
		return client.LimitTarget{}, badArgs("limit %s needs either --for-user or --prefix", cmd.Name())
	case user && f.user == "":
		return client.LimitTarget{}, badArgs("the name of the user is empty")
	case user:
		return client.LimitTarget{Kind: client.LimitUser, Name: []byte(f.user)}, nil
	default:
		return client.LimitTarget{Kind: client.LimitPrefix, Name: []byte(f.prefix)}, nil
	}
}

func (a *app) limitSet() *cobra.Command {
	var target limitTarget
	var l client.Limit
	cmd := &cobra.Command{
		Use:   "set [options]",
		Short: "Sets what a user or a prefix is limited to, in the place of what was set before",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArgs("limit set takes no arguments")
			}
			var err error
			if l.LimitTarget, err = target.get(cmd); err != nil {
				return err
			}
			return a.changeLimit(cmd, l, "set", func(c *client.Client) error {
				ctx, cancel := a.timed(cmd)
				defer cancel()
				return c.LimitSet(ctx, l)
			})
		},
	}
	target.add(cmd)
	for _, f := range []struct {
		name string
		to   *int64
		help string
	}{
		{"writes-per-second", &l.WritesPerSecond, "writes that each member takes per second"},
		{"write-burst", &l.WriteBurst, "writes that may come at once, if not as many as in a second"},
		{"reads-per-second", &l.ReadsPerSecond, "reads that each member answers per second"},
		{"read-burst", &l.ReadBurst, "reads that may come at once, if not as many as in a second"},
		{"max-keys", &l.MaxKeys, "keys that there may be below the prefix"},
		{"max-bytes", &l.MaxBytes, "bytes that the keys below the prefix and their values may have"},
	} {
		cmd.Flags().Int64Var(f.to, f.name, 0, f.help+"; 0 for no limit")
	}
	return cmd
}

func (a *app) limitRemove() *cobra.Command {
	var target limitTarget
	cmd := &cobra.Command{
		Use:   "remove [options]",
		Short: "Removes the limit of a user or a prefix",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArgs("limit remove takes no arguments")
			}
			t, err := target.get(cmd)
			if err != nil {
				return err
			}
			return a.changeLimit(cmd, client.Limit{LimitTarget: t}, "removed", func(c *client.Client) error {
				ctx, cancel := a.timed(cmd)
				defer cancel()
				return c.LimitRemove(ctx, t)
			})
		},
	}
	target.add(cmd)
	return cmd
}

// changeLimit has a limit changed and shows it.
func (a *app) changeLimit(cmd *cobra.Command, l client.Limit, done string, change func(*client.Client) error) error {
	out, c, err := a.session(cmd, kvFormats)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := change(c); err != nil {
		return err
	}
	message, err := client.LimitStruct(l)
	if err != nil {
		return err
	}
	return out.print(view{
		simple: func(t *text) { t.line("Limit of %s %q %s", l.Kind, l.Name, done) },
		fields: func(t *text) { t.limit(&l) },
		json:   l,
		proto:  message,
	})
}

// limit writes the block of one limit for fields output.
func (t *text) limit(l *client.Limit) {
	t.field("Kind", l.Kind)
	t.quoted("Name", string(l.Name))
	t.field("WritesPerSecond", l.WritesPerSecond)
	t.field("WriteBurst", l.WriteBurst)
	t.field("ReadsPerSecond", l.ReadsPerSecond)
	t.field("ReadBurst", l.ReadBurst)
	t.field("MaxKeys", l.MaxKeys)
	t.field("MaxBytes", l.MaxBytes)
}

func (a *app) limitList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists all limits, and how many keys and bytes there are below limited prefixes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArgs("limit list takes no arguments")
			}
			out, c, err := a.session(cmd, kvFormats|table)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.LimitList(ctx)
			if err != nil {
				return err
			}
			message, err := client.LimitStruct(resp)
			if err != nil {
				return err
			}
			rows := limitRows(resp.Limits)
			return out.print(view{
				simple: func(t *text) { t.columns(rows) },
				fields: func(t *text) {
					for i := range resp.Limits {
						l := &resp.Limits[i]
						t.limit(&l.Limit)
						t.field("Keys", l.Keys)
						t.field("Bytes", l.Bytes)
					}
				},
				json: resp,
				table: func() ([]string, [][]string) {
					return []string{"kind", "name", "writes/s", "write burst", "reads/s", "read burst", "keys", "max keys", "bytes", "max bytes"}, rows
				},
				proto: message,
			})
		},
	}
}

func limitRows(list []client.LimitStatus) [][]string {
	number := func(n int64) string {
		if n == 0 {
			return "-"
		}
		return strconv.FormatInt(n, 10)
	}
	var rows [][]string
	for _, l := range list {
		row := []string{string(l.Kind), fmt.Sprintf("%q", l.Name), number(l.WritesPerSecond), number(l.WriteBurst), number(l.ReadsPerSecond), number(l.ReadBurst)}
		if l.Kind == client.LimitPrefix {
			row = append(row, strconv.FormatInt(l.Keys, 10), number(l.MaxKeys), strconv.FormatInt(l.Bytes, 10), number(l.MaxBytes))
		} else {
			row = append(row, "-", "-", "-", "-")
		}
		rows = append(rows, row)
	}
	return rows
}
