package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

func (a *app) txnCommand() *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "txn [options]",
		Short: "Txn processes all the requests in one transaction",
		Long: `Txn reads one transaction from stdin and runs it. It has three sections, each
ended by an empty line or the end of input: the guards, the requests for when
all of them hold, and those for when not.

  mod("key1") > "0"

  put key1 "overwrote-key1"

  put key1 "created-key1"
  get key2 --prefix`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return badArgs("txn command does not accept argument")
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			op, err := a.readTxn(cmd.Context(), interactive)
			if err != nil {
				return err
			}
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.Do(ctx, op)
			if err != nil {
				return err
			}
			return out.print(txnView(resp.Txn()))
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "Input transaction in interactive mode")
	return cmd
}

// readTxn reads the three sections. The end of input closes those still open.
func (a *app) readTxn(ctx context.Context, interactive bool) (client.Op, error) {
	in := bufio.NewReader(a.Stdin)
	section := func(prompt string, each func(line string) error) error {
		if interactive {
			fmt.Fprintln(a.Stdout, prompt)
		}
		for {
			line, err := in.ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			line = strings.TrimSpace(line)
			if line == "" {
				return nil
			}
			if err := each(line); err != nil {
				return err
			}
		}
	}
	var cmps []client.Cmp
	err := section("compares:", func(line string) error {
		c, err := parseCompare(line)
		cmps = append(cmps, c)
		return err
	})
	if err != nil {
		return client.Op{}, err
	}
	var branches [2][]client.Op
	for i, prompt := range []string{"success requests (get, put, del):", "failure requests (get, put, del):"} {
		err := section(prompt, func(line string) error {
			op, err := a.parseRequest(ctx, line)
			branches[i] = append(branches[i], op)
			return err
		})
		if err != nil {
			return client.Op{}, err
		}
	}
	return client.OpTxn(cmps, branches[0], branches[1]), nil
}
