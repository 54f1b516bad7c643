//go:build linux

package network

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cairn-kv/cairn/test/process"
)

var (
	long      = flag.Bool("long", false, "run more rounds")
	sweepOnly = flag.Bool("sweep", false, "only remove what runs with the prefix in CAIRN_NETWORK_PREFIX have left behind")
)

const patience = process.Patience

var within = process.Within

// prefix begins the name of everything that this run makes outside of its own directories.
var prefix = fmt.Sprintf("cairn-%d-", os.Getpid())

// unable says why nothing can be tested here, "" if it can.
var unable string

func TestMain(m *testing.M) {
	flag.Parse()
	if *takeInImage != "" {
		if err := takeIn(*takeInImage); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if p := os.Getenv("CAIRN_NETWORK_PREFIX"); p != "" {
		prefix = p
	}
	if *sweepOnly {
		sweep()
		os.Exit(0)
	}
	if unable = whyNot(); unable != "" {
		os.Exit(m.Run())
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-interrupted
		fmt.Fprintln(os.Stderr, "interrupted: cleaning up")
		sweep()
		os.Exit(1)
	}()
	code := process.Main(m)
	sweep()
	report()
	os.Exit(code)
}

func whyNot() string {
	if os.Getenv("CAIRN_NETWORK_TESTS") != "1" {
		return "CAIRN_NETWORK_TESTS=1 is not set; see test/network/run.sh"
	}
	if os.Geteuid() != 0 {
		return "this needs root"
	}
	for _, tool := range []string{"ip", "mount", "umount", "mkfs.ext4", "fsfreeze", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err.Error()
		}
	}
	name := prefix + "try"
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Sprintf("no network namespace can be made: %s", out)
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	if out, err := exec.Command("ip", "-n", name, "rule", "add", "from", "198.18.0.1", "blackhole").CombinedOutput(); err != nil {
		return fmt.Sprintf("the kernel has no routing rules: %s", out)
	}
	return ""
}

// sweep removes everything with this run's prefix.
func sweep() {
	for _, at := range mounts() {
		_ = exec.Command("fsfreeze", "-u", at).Run()
	}
	list, _ := exec.Command("ip", "netns", "list").Output()
	var names []string
	for line := range strings.Lines(string(list)) {
		if name := strings.Fields(line); len(name) > 0 && strings.HasPrefix(name[0], prefix) {
			names = append(names, name[0])
		}
	}
	for _, name := range names {
		pids, _ := exec.Command("ip", "netns", "pids", name).Output()
		for pid := range strings.FieldsSeq(string(pids)) {
			var n int
			if _, err := fmt.Sscan(pid, &n); err == nil && n != os.Getpid() {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		_ = exec.Command("ip", "netns", "del", name).Run()
	}
	for _, at := range mounts() {
		if exec.Command("umount", at).Run() != nil {
			_ = exec.Command("umount", "-l", at).Run()
		}
	}
	if len(mounts()) == 0 {
		_ = os.RemoveAll(home())
	}
}

// home is where this run's disks are.
func home() string { return filepath.Join(os.TempDir(), prefix+"disks") }

// mounts are this run's.
func mounts() (out []string) {
	b, _ := os.ReadFile("/proc/self/mounts")
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && strings.HasPrefix(string(f[1]), home()+"/") {
			out = append(out, string(f[1]))
		}
	}
	slices.Reverse(out)
	return out
}
