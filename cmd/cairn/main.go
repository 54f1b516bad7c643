// Command cairn is the one binary: a member, or by its first word or its own name the command line tools.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"google.golang.org/grpc/grpclog"

	"github.com/cairn-kv/cairn"
	"github.com/cairn-kv/cairn/internal/ctl"
)

func main() { os.Exit(run(os.Args)) }

func run(args []string) int {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	switch {
	case name == "etcdctl":
		return etcdctl(args[1:])
	case len(args) > 1 && (args[1] == "ctl" || args[1] == "etcdctl"):
		return etcdctl(args[2:])
	case len(args) > 1 && args[1] == "ctl2":
		return etcdctl2(args[2:], os.Stdin, os.Stdout, os.Stderr)
	case len(args) > 1 && args[1] == "doctor":
		return ctl.Main(args[1:], os.Stdin, os.Stdout, os.Stderr)
	case len(args) > 1 && args[1] == "verify":
		return verify(args[2:])
	case len(args) > 1 && args[1] == "migrate-v2":
		return migrateV2(args[2:])
	}
	return member(args[1:])
}

// verify checks the data directory of a member that does not run.
func verify(args []string) int {
	fs := flag.NewFlagSet("cairn verify", flag.ContinueOnError)
	dir := fs.String("data-dir", "default.etcd", "directory of the member's data")
	walDir := fs.String("wal-dir", "", "directory of the write-ahead log; inside the data directory if not given")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil || fs.NArg() > 0:
		fmt.Fprintln(os.Stderr, "usage: cairn verify --data-dir DIR [--wal-dir DIR]")
		return 2
	}
	if err := cairn.Verify(os.Stdout, *dir, *walDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func member(args []string) int {
	cfg, err := cairn.ParseArgs(args, os.Environ(), os.Stdout)
	var usage *cairn.UsageError
	switch {
	case errors.Is(err, cairn.ErrHelp):
		return 0
	case errors.Is(err, cairn.ErrVersion):
		fmt.Printf("etcd Version: %s\nGit SHA: cairn\nGo Version: %s\nGo OS/Arch: %s/%s\n", cairn.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "cairn: %v\nRun 'cairn --help' for the flags.\n", err)
		return 2
	case err == nil:
		err = cfg.Validate()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cairn: failed to verify flags: %v\n", err)
		return 1
	}
	if !cfg.Debug() {
		// gRPC's own lines are not in the log's format; what matters of them is logged by the server.
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	}
	if os.Getenv("GOMAXPROCS") == "" {
		// One more than there are processors: when large work, a merge of tables or a collection keeps them all busy,
		// a request still finds one to be scheduled on, and the kernel lets it run soon. Without it, each step of a
		// request waits for a time slice.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s, err := begin(ctx, cfg)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cairn: failed to start: %v\n", err)
		return 1
	}
	s.greet()
	code := 0
	select {
	case <-ctx.Done():
	case <-s.Done():
		if err := s.Err(); err != nil {
			fmt.Fprintf(os.Stderr, "cairn: serving ended: %v\n", err)
			code = 1
		} else {
			fmt.Fprintln(os.Stderr, "cairn: the member has been permanently removed from the cluster; its data directory is of no use to it any more")
		}
	}
	if err := s.Stop(); err != nil {
		fmt.Fprintf(os.Stderr, "cairn: while stopping: %v\n", err)
		code = 1
	}
	return code
}

// process is what runs: a member or a proxy.
type process interface {
	greet()
	Done() <-chan struct{}
	Err() error
	Stop() error
}

type (
	server struct{ *cairn.Server }
	proxy  struct{ *cairn.Proxy }
)

func begin(ctx context.Context, cfg cairn.Config) (process, error) {
	asProxy, err := cfg.RunsProxy()
	if err != nil {
		return nil, err
	}
	if !asProxy {
		s, err := cairn.Start(ctx, cfg)
		if !errors.Is(err, cairn.ErrProxyInstead) {
			return server{s}, err
		}
		fmt.Fprintln(os.Stderr, "cairn: the cluster has the members that it wants; going on as a proxy to it")
	}
	p, err := cairn.StartProxy(ctx, cfg)
	return proxy{p}, err
}

func (p proxy) greet() {
	fmt.Printf("cairn %s forwards the v2 API on %s\n", cairn.Version, p.URL())
	fmt.Printf("  members  curl %s%s/v2/config/local/proxy\n", trust(p.URL(), ""), p.URL())
}

// greet tells a newcomer how to talk to the member.
func (s server) greet() {
	url := s.URL()
	fmt.Printf("cairn %s is ready on %s; its data is in %s\n", cairn.Version, url, s.DataDir())
	fmt.Printf("  write   cairn ctl %s--endpoints %s put greeting hello     (or any etcdctl)\n", trust(url, s.OwnCertificate()), url)
	fmt.Printf("  read    cairn ctl %s--endpoints %s get greeting\n", trust(url, s.OwnCertificate()), url)
	fmt.Printf("  health  curl %s%s/health\n", trust(url, s.OwnCertificate()), url)
}

// trust is what clients of a URL need besides; own is the certificate that the server has made itself, if it has.
func trust(url, own string) string {
	if strings.HasPrefix(url, "https:") || strings.HasPrefix(url, "unixs:") {
		return "--cacert " + cmp.Or(own, "CA.pem") + " "
	}
	return ""
}
