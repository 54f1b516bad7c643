//go:build linux

package network

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cairn-kv/cairn/test/process"
)

// lab is the network of one test: each member is a machine, a namespace with one link to a router, which is another
// namespace, where clients are. What goes from one machine to another is routed, so any direction of any pair can be cut
// without the others, and without a word to anybody.
type lab struct {
	t      testing.TB
	name   string // begins the names of its namespaces
	router string
	cuts   []string // routing rules, as they were added
}

var labs int

func newLab(t testing.TB) *lab {
	labs++
	l := &lab{t: t, name: fmt.Sprintf("%s%d-", prefix, labs)}
	l.router = l.name + "net"
	l.namespace(l.router)
	require.NoError(t, place(l.router)(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }))
	return l
}

func (l *lab) namespace(name string) {
	l.t.Helper()
	l.ip("netns", "add", name)
	l.t.Cleanup(func() { l.ip("netns", "del", name) })
	l.ip("-n", name, "link", "set", "lo", "up")
}

// machine makes a place for a member.
func (l *lab) machine(m *process.Member, number int) {
	name := l.name + m.Name
	l.namespace(name)
	router, own := fmt.Sprintf("198.18.%d.1", number), fmt.Sprintf("198.18.%d.2", number)
	l.ip("-n", l.router, "link", "add", "name", port(m), "type", "veth", "peer", "name", "eth0", "netns", name)
	l.ip("-n", l.router, "addr", "add", router+"/30", "dev", port(m))
	l.ip("-n", l.router, "link", "set", port(m), "up")
	l.ip("-n", name, "addr", "add", own+"/30", "dev", "eth0")
	l.ip("-n", name, "link", "set", "eth0", "up")
	l.ip("-n", name, "route", "add", "default", "via", router)
	m.Client, m.Peer, m.Place = own+":2379", own+":2380", place(name)
}

// port is the router's end of a member's link.
func port(m *process.Member) string { return "to-" + m.Name }

func host(m *process.Member) string {
	h, _, _ := strings.Cut(m.Client, ":")
	return h
}

// cut drops what from sends to each of the others.
func (l *lab) cut(from *process.Member, to ...*process.Member) {
	l.t.Helper()
	for _, m := range to {
		rule := fmt.Sprintf("from %s to %s blackhole", host(from), host(m))
		l.cuts = append(l.cuts, rule)
		l.ip(strings.Fields("-n " + l.router + " rule add " + rule)...)
	}
}

// part cuts a member and others off from each other, in both directions.
func (l *lab) part(m *process.Member, others ...*process.Member) {
	l.t.Helper()
	l.cut(m, others...)
	for _, o := range others {
		l.cut(o, m)
	}
}

// heal takes all cuts back.
func (l *lab) heal() {
	l.t.Helper()
	for _, rule := range l.cuts {
		l.ip(strings.Fields("-n " + l.router + " rule del " + rule)...)
	}
	l.cuts = nil
}

// unplug takes a machine off the network, and plug brings it back.
func (l *lab) unplug(m *process.Member) {
	l.t.Helper()
	l.ip("-n", l.router, "link", "set", port(m), "down")
}
func (l *lab) plug(m *process.Member) {
	l.t.Helper()
	l.ip("-n", l.router, "link", "set", port(m), "up")
}

// netem makes every link as bad as the arguments of tc's netem say.
func (l *lab) netem(ms []*process.Member, how ...string) {
	for _, m := range ms {
		for _, end := range [][2]string{{l.router, port(m)}, {l.name + m.Name, "eth0"}} {
			out, err := netem(end[0], end[1], how...)
			require.NoError(l.t, err, "%s", out)
		}
	}
}

func netem(namespace, device string, how ...string) (out []byte, err error) {
	return exec.Command("tc", append([]string{"-n", namespace, "qdisc", "replace", "dev", device, "root", "netem"}, how...)...).CombinedOutput()
}

// canNetem reports whether the kernel can make a network bad in that way.
func canNetem(how ...string) bool {
	name := prefix + "try"
	if exec.Command("ip", "netns", "add", name).Run() != nil {
		return false
	}
	defer exec.Command("ip", "netns", "del", name).Run()
	_, err := netem(name, "lo", how...)
	return err == nil
}

func (l *lab) ip(args ...string) {
	l.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		l.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// place is a namespace as a place for processes and sockets: it calls f on a thread that is in it.
func place(name string) process.Place {
	return func(f func() error) error {
		runtime.LockOSThread()
		own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			return err
		}
		defer unix.Close(own)
		there, err := unix.Open("/run/netns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			runtime.UnlockOSThread()
			return err
		}
		defer unix.Close(there)
		if err := unix.Setns(there, unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			return err
		}
		err = f()
		if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
			return errors.Join(err, back) // the thread stays locked, and ends with its goroutine
		}
		runtime.UnlockOSThread()
		return err
	}
}
