package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/cairn-kv/cairn/client"
)

func (a *app) snapshotCommand() *cobra.Command {
	return group("snapshot", "Manages etcd node snapshots",
		a.snapshotSave(), a.snapshotOffline("status"), a.snapshotOffline("restore"))
}

// snapshotOffline keeps a command that has moved to etcdutl working.
func (a *app) snapshotOffline(name string) *cobra.Command {
	return &cobra.Command{
		Use:                name,
		Short:              "Moved to etcdutl snapshot " + name,
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.Offline == nil {
				return fmt.Errorf("snapshot %s works on files: use \"etcdutl snapshot %s\"", name, name)
			}
			fmt.Fprintf(a.Stderr, "Deprecated: Use `etcdutl snapshot %s` instead.\n\n", name)
			if code := a.Offline(append([]string{"snapshot", name}, args...), a.Stdin, a.Stdout, a.Stderr); code != 0 {
				return silently(code)
			}
			return nil
		},
	}
}

func (a *app) snapshotSave() *cobra.Command {
	return &cobra.Command{
		Use:   "save <filename>",
		Short: "Stores an etcd node backend snapshot to a given file",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("snapshot save expects one argument <filename>")
			}
			_, cfg, err := a.setup(cmd, plain)
			if err != nil {
				return err
			}
			if len(cfg.Endpoints) != 1 {
				return fail(exitInterrupted, "snapshot must be requested to one selected node, not multiple %v", cfg.Endpoints)
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			if a.changed("command-timeout") {
				ctx, cancel = context.WithTimeout(cmd.Context(), a.flags.commandTimeout)
			}
			defer cancel()
			version, err := a.saveSnapshot(ctx, *cfg, args[0])
			if err != nil {
				return withCode(exitInterrupted, err)
			}
			fmt.Fprintln(a.Stdout, "Snapshot saved at", args[0])
			if version != "" {
				fmt.Fprintln(a.Stdout, "Server version", version)
			}
			return nil
		},
	}
}

// saveSnapshot streams a database into path.part, and renames that when it is
// complete and on disk. It returns the version the server announced.
func (a *app) saveSnapshot(ctx context.Context, cfg client.Config, path string) (version string, err error) {
	c, err := client.New(cfg)
	if err != nil {
		return "", err
	}
	a.client = c
	defer c.Close()
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("could not open %s (%w)", part, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(part)
		}
	}()
	a.debugLine("created temporary db file", "path", part)
	resp, err := c.SnapshotWithVersion(ctx)
	if err != nil {
		return "", err
	}
	defer resp.Snapshot.Close()
	a.debugLine("fetching snapshot", "endpoint", cfg.Endpoints[0])
	n, err := a.copyWithBar(f, resp)
	if err != nil {
		return "", err
	}
	// Pages, then the SHA-256 of them: a file without it was cut.
	if n%512 != 32 {
		return "", fmt.Errorf("sha256 checksum not found [bytes: %d]", n)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", err
	}
	a.debugLine("fetched snapshot", "endpoint", cfg.Endpoints[0], "size", n, "etcd-version", resp.Version)
	if err := os.Rename(part, path); err != nil {
		return "", fmt.Errorf("could not rename %s to %s (%w)", part, path, err)
	}
	a.debugLine("saved", "path", path)
	return resp.Version, nil
}

// copyWithBar copies the stream, with a progress bar when stderr is a terminal.
func (a *app) copyWithBar(w io.Writer, resp *client.SnapshotResponse) (int64, error) {
	f, ok := a.Stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || resp.Size <= 0 {
		return io.Copy(w, resp.Snapshot)
	}
	p := mpb.New(mpb.WithOutput(f), mpb.WithWidth(48))
	bar := p.AddBar(resp.Size,
		mpb.PrependDecorators(decor.CountersKiloByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Percentage()))
	n, err := io.Copy(w, bar.ProxyReader(resp.Snapshot))
	if n < resp.Size {
		bar.Abort(false)
	}
	p.Wait()
	return n, err
}
