package cairn

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// forbidden are imports that must not happen, direct or through others, each with its reason.
var forbidden = []struct{ from, to, why string }{
	{"internal/wire", "internal/", "the bytes know nothing above them"},
	{"internal/engine", "internal/wire", "an engine does not know what a key means"},
	{"internal/mvcc", "internal/machine", "arrows point down"},
	{"internal/lease", "internal/machine", "arrows point down"},
	{"internal/tree", "internal/machine", "arrows point down"},
	{"internal/cluster", "internal/machine", "arrows point down"},
	{"internal/auth", "internal/machine", "arrows point down"},
	{"internal/limits", "internal/machine", "arrows point down"},
	{"internal/limits", "internal/mvcc", "a rule does not know how much there is"},
	{"internal/token", "internal/host", "who keeps tokens does not know who runs it"},
	{"internal/machine", "internal/host", "arrows point down"},
	{"internal/machine", "internal/node", "the machine does not know how entries are agreed on"},
	{"internal/machine", "internal/vfs", "the machine reaches a disk only through its engine"},
	{"internal/machine", "log/slog", "the machine does not log"},
	{"internal/machine", "github.com/prometheus/client_golang/prometheus", "the machine has no metrics"},
	{"internal/node", "internal/machine", "the node decides order, not effects"},
	{"internal/node", "internal/wal", "the node opens no file"},
	{"internal/node", "internal/host", "arrows point down"},
	{"internal/watch", "internal/host", "arrows point down"},
	{"internal/watch", "internal/v3rpc", "arrows point down"},
	{"internal/peer", "internal/host", "arrows point down"},
	{"internal/peer", "internal/node", "the transport does not know what a message means"},
	{"internal/peer", "internal/machine", "the transport does not know what an entry means"},
	{"internal/peer", "internal/wal", "the transport keeps nothing"},
	{"internal/peer", "internal/snapshot", "an image is bytes that somebody else writes and keeps"},
	{"internal/peer", "internal/vfs", "the transport opens no file"},
	{"internal/peer", "internal/engine/pebble", "the transport opens no database"},
	{"internal/wal", "internal/machine", "the log does not know what an entry means"},
	{"internal/wal", "internal/engine", "the log stands beside the database"},
	{"internal/snapshot", "internal/host", "arrows point down"},
	{"internal/v3rpc", "internal/host", "the API sees the member through Backend"},
	{"internal/v3rpc", "internal/wal", "the API opens no file"},
	{"internal/v2http", "internal/host", "the API sees the member through its own interface"},
	{"internal/sim", "internal/host", "the simulator replaces host"},
	{"internal/discovery", "internal/host", "who finds members does not know what for"},
	{"internal/migrate", "internal/host", "a copy goes through the APIs"},
	{"internal/audit", "internal/", "records know nothing of what makes them"},
	{"internal/lane", "internal/", "the lane does not know what it serves"},
	{"internal/proxy", "internal/v2http", "the proxy does not know what a request means"},
	{"internal/proxy", "internal/peer", "the proxy asks through a function"},
	{"internal/password", "internal/machine", "a password does not know what it opens"},
	{"internal/ctl", "internal/host", "the tools speak the API"},
	{"internal/ctl2", "internal/host", "the tools speak the API"},
	{"internal/ctl2", "internal/v2http", "the tools speak the API"},
	{"internal/ctl2", "internal/engine", "a member's files are for others to read"},
	{"internal/ctl2", "internal/wal", "a member's files are for others to read"},
	{"internal/ctl2", "internal/ctl", "the two command lines share nothing but small tools"},
	{"internal/ctl2", "google.golang.org/grpc", "v2 is plain HTTP"},
	{"internal/v2client", "internal/ctl2", "a client does not know of command lines"},
	{"internal/v2client", "internal/v2http", "a client knows the API, not the server"},
	{"internal/v2client", "internal/cluster", "a client knows the API, not the server"},
	{"internal/v2client", "google.golang.org/grpc", "v2 is plain HTTP"},
	{"internal/peerurl", "internal/", "words alone"},
	{"internal/prompt", "internal/", "a question is asked the same way for everybody"},
	{"internal/tlsfiles", "internal/", "files alone"},
	{"client", "internal/", "the client library stands alone"},
	{".", "go.etcd.io/etcd/server", "production code uses etcd's API module only"},
	{".", "go.etcd.io/etcd/client", "production code uses etcd's API module only"},
	{"cmd/cairn", "go.etcd.io/etcd/server", "production code uses etcd's API module only"},
	{"cmd/cairn", "go.etcd.io/etcd/client", "production code uses etcd's API module only"},
}

// passive packages do not even import these.
var passive = []struct{ pkg, imp, why string }{
	{"internal/machine", "time", "the machine has no clock"},
	{"internal/machine", "math/rand", "the machine draws no lots"},
	{"internal/machine", "math/rand/v2", "the machine draws no lots"},
	{"internal/mvcc", "time", "the keyspace has no clock"},
	{"internal/mvcc", "sync", "one goroutine owns the keyspace"},
	{"internal/lease", "time", "the table of leases has no clock"},
	{"internal/tree", "time", "the tree has no clock"},
	{"internal/auth", "time", "the table of users has no clock"},
	{"internal/limits", "time", "the table of limits has no clock"},
	{"internal/limits", "sync", "one goroutine owns the table of limits"},
	{"internal/node", "os", "the node opens no file"},
	{"internal/node", "sync", "one goroutine owns the node"},
	{"internal/node", "log", "the node does not log"},
}

const module = "github.com/cairn-kv/cairn"

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T) map[string]listed {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	require.NoError(t, err)
	pkgs := map[string]listed{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		require.NoError(t, err)
		pkgs[p.ImportPath] = p
	}
}

func TestArrowsPointDown(t *testing.T) {
	pkgs := list(t)
	full := func(p string) string {
		if p == "." {
			return module
		}
		if strings.HasPrefix(p, "internal") || strings.HasPrefix(p, "cmd") || p == "client" {
			return module + "/" + p
		}
		return p
	}
	known := 0
	for _, f := range forbidden {
		for path, p := range pkgs {
			if path != full(f.from) && !strings.HasPrefix(path, full(f.from)+"/") || strings.HasSuffix(path, "test") {
				continue
			}
			if f.from == "." && path != module {
				continue
			}
			known++
			for _, d := range p.Deps {
				if (d == full(f.to) || strings.HasPrefix(d, strings.TrimSuffix(full(f.to), "/")+"/")) && !strings.HasPrefix(d, full(f.from)) {
					t.Errorf("%s imports %s: %s", path, d, f.why)
				}
			}
		}
	}
	require.Greater(t, known, len(forbidden)-3, "the table names packages that do not exist")
	for _, f := range passive {
		p, ok := pkgs[full(f.pkg)]
		require.True(t, ok, f.pkg)
		for _, i := range p.Imports {
			require.NotEqual(t, f.imp, i, "%s imports %s: %s", f.pkg, f.imp, f.why)
		}
	}
}
