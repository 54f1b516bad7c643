package ctl2

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-kv/cairn/bench/process"
)

var (
	seed   = flag.Uint64("seed", 1, "of the random command lines")
	random = flag.Int("n", 200, "how many random command lines")
)

const limit = 30 * time.Second // of one command line

// debian finds the programs of the distribution's packages, and fetches those that are not installed into dir.
func debian(t *testing.T, dir string) (ctl, etcd string) {
	ctl, etcd = "/usr/bin/etcdctl", "/usr/bin/etcd"
	_, noCtl := os.Stat(ctl)
	_, noEtcd := os.Stat(etcd)
	if noCtl != nil || noEtcd != nil {
		const fetch = `cd "$0" && { apt-get download etcd-client etcd-server || { apt-get -qq update && apt-get download etcd-client etcd-server; }; } &&
			for p in *.deb; do dpkg -x "$p" . || exit 1; done`
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "sh", "-c", fetch, dir).CombinedOutput(); err != nil {
			t.Skipf("the distribution's etcd-client and etcd-server are not installed, and cannot be fetched: %v\n%s", err, out)
		}
		ctl, etcd = dir+ctl, dir+etcd
	}
	cmd := exec.Command(ctl, "--version")
	cmd.Env = []string{"ETCDCTL_API=2"}
	if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "etcdctl version: 3.4.") {
		t.Skipf("%s is not of version 3.4: %s %v", ctl, out, err)
	}
	return ctl, etcd
}

// outcome is what a command line led to.
type outcome struct {
	stdout, stderr string
	code           int
}

// unlike shows where two outcomes differ.
func (o outcome) unlike(other outcome) string {
	var b strings.Builder
	for _, part := range []struct{ name, x, y string }{
		{"stdout", o.stdout, other.stdout}, {"stderr", o.stderr, other.stderr}, {"exit", fmt.Sprint(o.code), fmt.Sprint(other.code)},
	} {
		if part.x != part.y {
			fmt.Fprintf(&b, "    %s %q\n    %*s %q\n", part.name, part.x, len(part.name), "", part.y)
		}
	}
	return b.String()
}

// side is a tool with a server of its own.
type side struct {
	name   string
	tool   []string // the program and its first words
	server *process.Server
	dir    string // what a script calls $DIR
}

// line is one command line of a script.
type line struct {
	words     []string
	stdin     string
	interrupt bool // once it has run for a while
}

func (l line) String() string {
	s := strings.Join(l.words, " ")
	if l.stdin != "" {
		s += fmt.Sprintf(" <<< %q", l.stdin)
	}
	return s
}

func (s *side) run(t *testing.T, l line) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	words := append([]string(nil), s.tool[1:]...)
	given := false
	for _, w := range l.words {
		given = given || strings.HasPrefix(w, "--endpoint") || strings.HasPrefix(w, "-C") || strings.HasPrefix(w, "--peers")
	}
	if !given {
		words = append(words, "--endpoints", "http://"+s.server.Addr)
	}
	for _, w := range l.words {
		words = append(words, strings.NewReplacer("$EP", "http://"+s.server.Addr, "$ADDR", s.server.Addr, "$DIR", s.dir).Replace(w))
	}
	cmd := exec.CommandContext(ctx, s.tool[0], words...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ETCDCTL_API=2"}
	cmd.Stdin = strings.NewReader(l.stdin)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if l.interrupt {
		time.AfterFunc(600*time.Millisecond, func() { _ = cmd.Process.Signal(syscall.SIGINT) })
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("%s: %s does not end", s.name, l)
	} else if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return outcome{s.steady(out.String()), s.steady(errs.String()), cmd.ProcessState.ExitCode()}
}

var (
	moment   = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	left     = regexp.MustCompile(`("ttl":|TTL: )[1-9]\d*`)
	memberID = regexp.MustCompile(`\b[0-9a-f]{15,16}\b`)
	stty     = regexp.MustCompile(`(?m)^stty: .*\n`) // a tool of the system that etcdctl uses
	stamp    = regexp.MustCompile(`(?m)^\d{4}[-/]\d\d[-/]\d\d \d\d:\d\d:\d\d\.\d+ (I \| )?`)
)

// steady replaces what differs from one run to the next.
func (s *side) steady(text string) string {
	text = strings.NewReplacer(s.server.Addr, "ADDR", s.dir, "DIR").Replace(text)
	text = moment.ReplaceAllString(text, "TIME")
	text = left.ReplaceAllString(text, "${1}LEFT")
	text = memberID.ReplaceAllString(text, "ID")
	text = stamp.ReplaceAllString(text, "")
	return stty.ReplaceAllString(text, "")
}

func TestSameAsEtcdctl(t *testing.T) {
	bin := t.TempDir()
	ctl, server := debian(t, bin)
	_, cairn, err := process.Build(bin)
	if err != nil {
		t.Fatal(err)
	}
	etcd := process.Program{Kind: process.Etcd, Path: server}
	theirs, ours := []string{ctl}, []string{cairn.Path, "etcdctl"}
	sides := []*side{
		newSide(t, "etcdctl, cairn", theirs, cairn),
		newSide(t, "cairn ctl, cairn", ours, cairn),
		newSide(t, "etcdctl, etcd", theirs, etcd),
		newSide(t, "cairn ctl, etcd", ours, etcd),
	}
	lines := append(script(t), generate(*seed, *random)...)
	used := map[string]int{}
	for _, l := range lines {
		var got [4]outcome
		var wait sync.WaitGroup
		for i, s := range sides {
			wait.Go(func() { got[i] = s.run(t, l) })
		}
		wait.Wait()
		for _, pair := range []struct{ a, b int }{{0, 1}, {2, 3}, {1, 3}} {
			compare(t, l, sides[pair.a].name, sides[pair.b].name, got[pair.a], got[pair.b], used)
		}
		if t.Failed() && t.Context().Err() != nil {
			return
		}
	}
	for _, k := range knownDifferences {
		if used[k.name] == 0 {
			t.Errorf("the known difference %q did not show", k.name)
		}
	}
	t.Logf("%d command lines; known differences: %v", len(lines), used)
}

func compare(t *testing.T, l line, nameA, nameB string, a, b outcome, used map[string]int) {
	for _, k := range knownDifferences {
		if a == b {
			return
		}
		if k.lines != nil && !k.lines(l) {
			continue
		}
		if x, y := k.same(a), k.same(b); x != a || y != b {
			used[k.name]++
			a, b = x, y
		}
	}
	if a != b {
		t.Errorf("%s\n  %s, %s\n%s", l, nameA, nameB, a.unlike(b))
	}
}

// base is in memory where there is some: words are compared here, not disks.
func base() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func newSide(t *testing.T, name string, tool []string, p process.Program) *side {
	t.Helper()
	dir, err := os.MkdirTemp(base(), "ctl2-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := process.New(p, dir, "--enable-v2")
	if err != nil {
		t.Fatal(err)
	}
	s.Args = append(s.Args, "--advertise-client-urls", "http://"+s.Addr) // where sync leads to
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return &side{name, tool, s, dir}
}

// script reads the command lines of script.txt.
func script(t *testing.T) (out []line) {
	f, err := os.Open("script.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split(string(b), "\n") {
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		var l line
		if rest, ok := strings.CutPrefix(text, "^C "); ok {
			text, l.interrupt = rest, true
		}
		if before, after, ok := strings.Cut(text, " <<< "); ok {
			text, l.stdin = before, strings.ReplaceAll(after, `\n`, "\n")
		}
		l.words = split(text)
		out = append(out, l)
	}
	return out
}

// split takes words apart at blanks outside of single quotes.
func split(text string) (out []string) {
	var word strings.Builder
	quoted, some := false, false
	for _, r := range text {
		switch {
		case r == '\'':
			quoted, some = !quoted, true
		case r == ' ' && !quoted:
			if some {
				out = append(out, word.String())
			}
			word.Reset()
			some = false
		default:
			word.WriteRune(r)
			some = true
		}
	}
	if some {
		out = append(out, word.String())
	}
	return out
}
