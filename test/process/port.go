package process

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

// Ports are taken from below the range that the kernel gives to clients: one of those may get an address in the moment
// between its choice and its use.
const (
	firstPort = 12_000
	lastPort  = 32_000
)

var nextPort atomic.Uint32

// FreeAddr is an address on this machine that nobody listens on, and that is not given out again soon.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range lastPort - firstPort {
		n := uint32(os.Getpid())*331 + nextPort.Add(1)
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+n%(lastPort-firstPort))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("there is no free port")
	return ""
}
