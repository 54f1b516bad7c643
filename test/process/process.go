// Package process runs members of a cluster for tests, each the built binary in a process of its own, and connects the
// official client to them.
package process

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Binary is the server under test. Main sets it.
var Binary string

// Main builds the server, unless CAIRN_BIN names one, and runs the tests of a package.
func Main(m *testing.M) int {
	if Binary = os.Getenv("CAIRN_BIN"); Binary == "" {
		dir, err := os.MkdirTemp("", "cairn-process-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		Binary = filepath.Join(dir, "cairn")
		build := exec.Command("go", "build", "-o", Binary, "github.com/cairn-kv/cairn/cmd/cairn")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the server:", err)
			return 1
		}
	}
	return m.Run()
}

// Patience is how long a test waits for what must happen.
const Patience = 30 * time.Second

// Within is a context that ends after d, or with the test.
func Within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// Output collects what a process prints.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
