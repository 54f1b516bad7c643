package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/migrate"
	"github.com/cairn-kv/cairn/internal/tlsfiles"
	"github.com/cairn-kv/cairn/internal/v2client"
)

const migrateUsage = `usage: cairn migrate-v2 [flags]

Copies the keys of the v2 API to v3 keys. Times to live become leases; directories are left out. Nothing is overwritten
unless told to, and what is there already is passed over, so that it may be run again. Hidden nodes, whose names begin
with an underscore, are not listed by the v2 API: name them with --dir.

`

// words is a flag that may come several times.
type words []string

func (w *words) String() string     { return strings.Join(*w, ",") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

// migrateV2 is the command migrate-v2. Exit codes: 0 all is there, 1 it failed or there are conflicts, 2 wrong flags.
func migrateV2(args []string) int {
	fs := flag.NewFlagSet("cairn migrate-v2", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var dirs words
	from := fs.String("endpoints", "http://127.0.0.1:2379", "`URLs` of the cluster to copy from, a comma list")
	to := fs.String("to", "", "`URLs` of the cluster to copy to; the same cluster if not given")
	fs.Var(&dirs, "dir", "`path` of a v2 directory or key to copy, with all below it; may come several times; / if not given")
	prefix := fs.String("prefix", "", "`text` before the path in a v3 key: with v2 the key /a becomes v2/a")
	overwrite := fs.Bool("overwrite", false, "replace v3 keys that have other values")
	dry := fs.Bool("dry-run", false, "say what would be done, and do nothing")
	user := fs.String("user", "", "`name:password` for the v2 API")
	toUser := fs.String("to-user", "", "`name:password` for v3")
	var files tlsfiles.Files
	fs.StringVar(&files.CA, "cacert", "", "`file` of the CA of both clusters, for https")
	fs.StringVar(&files.Cert, "cert", "", "`file` of this client's certificate")
	fs.StringVar(&files.Key, "key", "", "`file` of the certificate's key")
	timeout := fs.Duration("timeout", 30*time.Second, "limit for one request")
	usage := func(w io.Writer) {
		fmt.Fprint(w, migrateUsage)
		fs.SetOutput(w)
		fs.PrintDefaults()
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		usage(os.Stdout)
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "cairn migrate-v2: %v\n", err)
		return 2
	case fs.NArg() > 0:
		fmt.Fprintf(os.Stderr, "cairn migrate-v2: %q is no flag\n", fs.Arg(0))
		return 2
	}
	if len(dirs) == 0 {
		dirs = words{"/"}
	}
	if *to == "" {
		*to = *from
	}
	report, err := copyV2(files, v2client.Config{Endpoints: strings.Split(*from, ","), DialTimeout: *timeout, HeaderTimeout: *timeout},
		client.Config{Endpoints: strings.Split(*to, ","), DialTimeout: *timeout}, *user, *toUser,
		migrate.Config{Dirs: dirs, Prefix: *prefix, Overwrite: *overwrite, DryRun: *dry})
	if err != nil {
		fmt.Fprintf(os.Stderr, "cairn migrate-v2: %v\n", err)
		return 1
	}
	if *dry {
		fmt.Print("nothing was done; this would be: ")
	}
	fmt.Print(report)
	if len(report.Conflicts) > 0 {
		return 1
	}
	return 0
}

func copyV2(files tlsfiles.Files, from v2client.Config, to client.Config, user, toUser string, cfg migrate.Config) (migrate.Report, error) {
	tls, err := files.Config()
	if err != nil {
		return migrate.Report{}, err
	}
	from.TLS = tls
	if strings.HasPrefix(to.Endpoints[0], "https://") {
		to.TLS = tls
	}
	from.Username, from.Password, _ = strings.Cut(user, ":")
	to.Username, to.Password, _ = strings.Cut(toUser, ":")
	source, err := v2client.New(from)
	if err != nil {
		return migrate.Report{}, err
	}
	defer source.Close()
	target, err := client.New(to)
	if err != nil {
		return migrate.Report{}, err
	}
	defer target.Close()
	cfg.From, cfg.To = source, bounded{target, from.HeaderTimeout}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return migrate.Run(ctx, cfg)
}

// bounded limits how long the other side may take for a request.
type bounded struct {
	*client.Client
	limit time.Duration
}

func (b bounded) Txn(ctx context.Context) client.Txn {
	return b.Client.Txn(b.within(ctx))
}

func (b bounded) Grant(ctx context.Context, ttlSeconds int64) (*client.LeaseGrantResponse, error) {
	return b.Client.Grant(b.within(ctx), ttlSeconds)
}

// within ends with its limit at the latest.
func (b bounded) within(ctx context.Context) context.Context {
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	context.AfterFunc(ctx, cancel)
	return ctx
}
