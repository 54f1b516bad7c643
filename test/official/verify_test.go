package official

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func verify(t *testing.T, p *process) (out string, sound bool) {
	t.Helper()
	b, err := exec.Command(binary, "verify", "--data-dir", p.dir).CombinedOutput()
	return string(b), err == nil
}

// The tool finds a flipped bit in the log and in the database, and nothing where nothing is wrong.
func TestVerify(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client()
	fill(t, c, 500)
	lease, err := c.Grant(within(t, patience), 600)
	require.NoError(t, err)
	_, err = c.Put(within(t, patience), "leased", "", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	_, err = c.Delete(within(t, patience), "key1", clientv3.WithPrefix())
	require.NoError(t, err)
	fill(t, c, 300)
	r, err := c.Get(within(t, patience), "key2")
	require.NoError(t, err)
	_, err = c.Compact(within(t, patience), r.Header.Revision-100, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	out, sound := verify(t, p)
	require.False(t, sound, "a running member's directory is in use")
	require.Contains(t, out, "in use by another process")
	p.kill()
	out, sound = verify(t, p)
	require.True(t, sound, out)
	p.start()
	p.stop()
	out, sound = verify(t, p)
	require.True(t, sound, out)
	require.Contains(t, out, "501 keys")
	require.Contains(t, out, "1 leases")

	tables, err := filepath.Glob(filepath.Join(p.dir, "member", "db", "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables)
	largest := tables[0]
	for _, f := range tables {
		if size(t, f) > size(t, largest) {
			largest = f
		}
	}
	for _, file := range []string{largest, p.segments()[0]} {
		whole, n := written(t, file)
		damaged := append([]byte(nil), whole...)
		at := n / 3
		for file != largest && damaged[at] != 'x' { // in a value: what fills a record of the log up means nothing
			at++
		}
		damaged[at] ^= 1
		require.NoError(t, os.WriteFile(file, damaged, 0o600))
		out, sound = verify(t, p)
		require.False(t, sound, file)
		require.Contains(t, out, "FAULT")
		require.Contains(t, out, filepath.Base(filepath.Dir(file)))
		require.NoError(t, os.WriteFile(file, whole, 0o600))
		out, sound = verify(t, p)
		require.True(t, sound, out)
	}
	p.start()
}

func size(t *testing.T, file string) int64 {
	t.Helper()
	fi, err := os.Stat(file)
	require.NoError(t, err)
	return fi.Size()
}
