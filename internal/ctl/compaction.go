package ctl

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

func (a *app) compactionCommand() *cobra.Command {
	var physical bool
	cmd := &cobra.Command{
		Use:   "compaction [options] <revision>",
		Short: "Compacts the event history in etcd",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("compaction command needs 1 argument")
			}
			rev, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil {
				return err
			}
			_, c, err := a.session(cmd, plain)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			var opts []client.CompactOption
			if physical {
				opts = append(opts, client.WithCompactPhysical())
			}
			if _, err := c.Compact(ctx, rev, opts...); err != nil {
				return err
			}
			fmt.Fprintln(a.Stdout, "compacted revision", rev)
			return nil
		},
	}
	cmd.Flags().BoolVar(&physical, "physical", false, "'true' to wait for compaction to physically remove all old revisions")
	return cmd
}
