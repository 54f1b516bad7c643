package official

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// segments are the files of the log, oldest first.
func (p *process) segments() []string {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "member", "wal", "*.wal"))
	require.NoError(p.t, err)
	require.NotEmpty(p.t, files)
	slices.Sort(files)
	return files
}

// written is how many bytes of a log file hold records: it is allocated in advance.
func written(t *testing.T, file string) (data []byte, n int) {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	for n = len(data); n > 0 && data[n-1] == 0; n-- {
	}
	return data, n
}

func fill(t *testing.T, c *clientv3.Client, n int) {
	t.Helper()
	for i := range n {
		_, err := c.Put(within(t, patience), fmt.Sprintf("key%d", i), strings.Repeat("x", 100))
		require.NoError(t, err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	second := &process{t: t, dir: p.dir, addr: freeAddr(t)}
	out := second.refusal()
	require.Contains(t, out, "in use by another process")
	require.Contains(t, out, p.dir)
	fill(t, p.client(), 1) // the first is not disturbed
	p.alive()
	// Nor can one take its address.
	other := &process{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: p.addr}
	require.Contains(t, other.refusal(), "address already in use")
	require.NoDirExists(t, other.dir)
	p.stop()
	second.start() // the directory is free again
	second.stop()
}

// Damage to what was safe is not repaired by throwing it away: the server says where it is, and leaves the files alone.
func TestACorruptLogIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	fill(t, p.client(), 200)
	p.kill()
	file := p.segments()[0]
	data, n := written(t, file)
	at := n / 2
	for data[at] != 'x' { // in a value: a bit of what fills a record up to eight bytes means nothing
		at++
	}
	data[at] ^= 0x10
	require.NoError(t, os.WriteFile(file, data, 0o600))
	for range 2 {
		out := p.refusal()
		require.Contains(t, out, filepath.Base(file))
		var offset int
		i := strings.Index(out, "offset ")
		require.GreaterOrEqual(t, i, 0, "%s", out)
		_, err := fmt.Sscanf(out[i:], "offset %d", &offset)
		require.NoError(t, err, "%s", out)
		require.LessOrEqual(t, offset, at, "the record that holds the damage")
		require.Greater(t, offset, at-1000)
		same, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, data, same)
	}
	data[at] ^= 0x10
	require.NoError(t, os.WriteFile(file, data, 0o600))
	p.start()
	get, err := p.client().Get(within(t, patience), "key", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 200, get.Count)
}

// A power loss leaves the last write torn. It was not acknowledged, and nothing else is lost with it.
func TestATornTailIsRepaired(t *testing.T) {
	t.Parallel()
	p := start(t)
	fill(t, p.client(), 50)
	p.kill()
	file := p.segments()[len(p.segments())-1]
	data, n := written(t, file)
	// The beginning of a record that never came to its end, as large as one sector.
	torn := []byte{0x60, 2, 0, 0, 0, 0, 0, 0, 0x08, 2, 0x10, 0xff, 0xff, 3, 0x1a}
	n = (n + 7) / 8 * 8
	copy(data[n:], torn)
	for i := n + len(torn); i < (n+512)/512*512; i++ {
		data[i] = 0x55
	}
	require.NoError(t, os.WriteFile(file, data, 0o600))
	p.start()
	require.Contains(t, p.out.String(), "torn")
	c := p.client()
	get, err := c.Get(within(t, patience), "key", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 50, get.Count)
	fill(t, c, 60)
	p.kill()
	p.start() // the repaired log goes on
	get, err = c.Get(within(t, patience), "key", clientv3.WithPrefix(), clientv3.WithCountOnly())
	require.NoError(t, err)
	require.EqualValues(t, 60, get.Count)
	p.stop()
}

func TestAnEtcdDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	p := &process{t: t, dir: filepath.Join(t.TempDir(), "data"), addr: freeAddr(t)}
	snap := filepath.Join(p.dir, "member", "snap")
	require.NoError(t, os.MkdirAll(snap, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(snap, "db"), []byte("bolt"), 0o600))
	require.Contains(t, p.refusal(), "etcd server's database")
}
