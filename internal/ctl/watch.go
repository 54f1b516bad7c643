package ctl

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

func (a *app) watchCommand() *cobra.Command {
	var o watchOptions
	var interactive bool
	cmd := &cobra.Command{
		Use:   "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
		Short: "Watches events stream on keys or prefixes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if interactive {
				return a.watchInteractively(cmd, args)
			}
			r, err := o.parseWatch(args, cmd.ArgsLenAtDash(), a.env("ETCDCTL_WATCH_KEY"), a.env("ETCDCTL_WATCH_RANGE_END"))
			if err != nil {
				return err
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithCancel(client.WithRequireLeader(cmd.Context()))
			defer cancel()
			if err := a.follow(c.Watch(ctx, r.key, r.opts...), r.exec, out); err != nil {
				return err
			}
			return fail(exitInterrupted, "watch is canceled by the server")
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "Interactive mode")
	o.addTo(cmd.Flags())
	return cmd
}

// follow prints a watch until its channel closes, and runs the command for each
// event. A command that fails ends it.
func (a *app) follow(ch client.WatchChan, command []string, out *output) error {
	for resp := range ch {
		if resp.Canceled {
			fmt.Fprintf(a.Stderr, "watch was canceled (%v)\n", resp.Err())
		}
		if resp.IsProgressNotify() {
			fmt.Fprintf(a.Stdout, "progress notify: %d\n", resp.Header.GetRevision())
		}
		if err := out.print(watchView(&resp)); err != nil {
			return err
		}
		if len(command) == 0 {
			continue
		}
		for _, ev := range resp.Events {
			if err := a.runForEvent(command, resp.Header.GetRevision(), ev); err != nil {
				fmt.Fprintf(a.Stderr, "command %q error (%v)\n", command, err)
				return silently(exitFailure)
			}
		}
	}
	return nil
}

// runForEvent runs a command with the event in its environment, texts quoted.
func (a *app) runForEvent(command []string, rev int64, ev *client.Event) error {
	c := exec.Command(command[0], command[1:]...)
	c.Stdout, c.Stderr = a.Stdout, a.Stderr
	c.Env = append(append([]string{}, a.Environ...),
		fmt.Sprintf("ETCD_WATCH_REVISION=%d", rev),
		fmt.Sprintf("ETCD_WATCH_EVENT_TYPE=%q", ev.Type),
		fmt.Sprintf("ETCD_WATCH_KEY=%q", ev.Kv.Key),
		fmt.Sprintf("ETCD_WATCH_VALUE=%q", ev.Kv.Value),
	)
	return c.Run()
}

// watchInteractively makes a watch for each line of stdin that asks for one.
// They run side by side until stdin ends, which is an error of its own.
func (a *app) watchInteractively(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return badArgs("watch in interactive mode takes its keys from stdin")
	}
	out, c, err := a.session(cmd, kvFormats)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(client.WithRequireLeader(cmd.Context()))
	defer cancel()

	failed := make(chan error, 1) // the first watch to fail ends the command
	lines := make(chan inputLine)
	go a.readLines(ctx, lines)
	for {
		var in inputLine
		select {
		case err := <-failed:
			return err
		case in = <-lines:
		}
		if in.err != nil {
			return fail(exitInvalidInput, "error reading watch request line: %w", in.err)
		}
		if err := a.watchLine(ctx, c, out, in.text, failed); err != nil {
			return err
		}
	}
}

// inputLine is one line of stdin, or the error that ended it.
type inputLine struct {
	text string
	err  error
}

// readLines reads stdin until it ends. A read that blocks outlives the command,
// which is the end of the process.
func (a *app) readLines(ctx context.Context, lines chan<- inputLine) {
	r := bufio.NewReader(a.Stdin)
	for {
		text, err := r.ReadString('\n')
		if err == nil || strings.TrimSpace(text) != "" {
			select {
			case lines <- inputLine{text: strings.TrimSpace(text)}:
			case <-ctx.Done():
				return
			}
		}
		if err != nil {
			select {
			case lines <- inputLine{err: err}:
			case <-ctx.Done():
			}
			return
		}
	}
}

// watchLine serves one line. Mistakes are told and passed over, but for those in
// the arguments of a watch.
func (a *app) watchLine(ctx context.Context, c *client.Client, out *output, line string, failed chan<- error) error {
	words, err := splitWords(line)
	if err != nil {
		fmt.Fprintf(a.Stderr, "Invalid command: %s (%v)\n", line, err)
		return nil
	}
	if len(words) == 0 {
		fmt.Fprintf(a.Stderr, "Invalid command: %s (watch and progress supported)\n", line)
		return nil
	}
	switch words[0] {
	case "progress":
		return c.RequestProgress(ctx)
	case "watch":
	default:
		fmt.Fprintf(a.Stderr, "Invalid command %s (only support watch)\n", line)
		return nil
	}
	if len(words) < 2 {
		fmt.Fprintf(a.Stderr, "Invalid command %s (command type or key is not provided)\n", line)
		return nil
	}
	r, err := parseWatchLine(words[1:])
	if err != nil {
		return err
	}
	ch := c.Watch(ctx, r.key, r.opts...)
	go func() { // ends with the command, or with the watch
		if err := a.follow(ch, r.exec, out); err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	}()
	return nil
}
