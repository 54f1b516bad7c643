package golden

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cairn-kv/cairn/bench/process"
)

const debianEtcd = "/usr/bin/etcd"

// TestRandomRequestsAgainstOldEtcd compares with the etcd of the distribution, version 3.4, where that is installed.
func TestRandomRequestsAgainstOldEtcd(t *testing.T) {
	if _, err := os.Stat(debianEtcd); err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(debianEtcd, "--version").Output()
	if err != nil || !strings.Contains(string(out), "etcd Version: 3.4.") {
		t.Skipf("%s is not of version 3.4: %s %v", debianEtcd, out, err)
	}
	etcd := start(t, process.Program{Kind: process.Etcd, Path: debianEtcd})
	r, err := newRun(*seeds, etcd, start(t, cairnProgram), settings{old: true}, differencesTo34)
	if err != nil {
		t.Fatal(err)
	}
	r.forget = forget34
	// No crashes: replaying its log, 3.4 may apply an entry twice.
	compareRun(t, r, *ops)
}
