package cluster

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/test/process"
)

// spoil changes a byte of a value in the database of a member that does not run.
func spoil(t *testing.T, m *process.Member, value string) {
	t.Helper()
	eng, err := pebble.Open(vfs.OS(), filepath.Join(m.Dir, "member", "db"), pebble.Options{})
	require.NoError(t, err)
	b := eng.NewBatch()
	require.NoError(t, eng.Scan(engine.Key, nil, nil, func(k, v []byte) bool {
		at := bytes.Index(v, []byte(value))
		if at < 0 {
			return true
		}
		v = bytes.Clone(v)
		v[at]++
		b.Set(engine.Key, k, v)
		return false
	}))
	require.Equal(t, 1, b.Len(), "the value is there")
	require.NoError(t, eng.Commit(b))
	require.NoError(t, eng.Flush())
	require.NoError(t, eng.Close())
}

// A member whose data differs is named and keeps silent; the others go on. It takes theirs, by command, and is whole.
func TestCorruptMemberIsNamedAndHeals(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3)
	c := g.Connect()
	for i := range 200 {
		_, err := c.Put(within(t, patience), fmt.Sprint("k", i), fmt.Sprintf("value-%d-", i))
		require.NoError(t, err)
	}
	bad := g.Followers()[0]
	well := g.Others(bad)
	id := g.Status(bad).Header.MemberId
	g.Agree()
	bad.Stop()
	spoil(t, bad, "value-77-")
	bad.Start()
	wc := g.Connect(well...)
	require.Eventually(t, func() bool {
		r, err := wc.AlarmList(within(t, patience))
		return err == nil && len(r.Alarms) == 1 && r.Alarms[0].MemberID == id
	}, patience, 100*time.Millisecond, "nobody is named: %s", bad.Out)
	_, err := wc.Put(within(t, patience), "goes", "on")
	require.NoError(t, err)
	bc := g.Connect(bad)
	require.Eventually(t, func() bool {
		_, err := bc.Get(within(t, time.Second), "k77", clientv3.WithSerializable())
		return err != nil && bytes.Contains([]byte(err.Error()), []byte("corrupt cluster"))
	}, patience, 100*time.Millisecond)
	_, err = bc.Put(within(t, patience), "k", "v")
	require.ErrorContains(t, err, "corrupt cluster")

	out, err := exec.Command(process.Binary, "doctor", "--endpoints", well[0].URL()).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), fmt.Sprintf("alarm CORRUPT of member %x", id))
	out, err = exec.Command(process.Binary, "ctl", "member", "heal", "--endpoints", bad.URL()).CombinedOutput()
	require.NoError(t, err, "%s", out)
	r, err := wc.AlarmList(within(t, patience))
	require.NoError(t, err)
	require.Empty(t, r.Alarms)
	got, err := bc.Get(within(t, patience), "k77")
	require.NoError(t, err)
	require.Equal(t, "value-77-", string(got.Kvs[0].Value))
	_, err = bc.Put(within(t, patience), "k", "v")
	require.NoError(t, err)
	g.Agree()
	bad.Kill()
	bad.Start()
	g.Agree()
	bad.Stop()
	verified, err := exec.Command(process.Binary, "verify", "--data-dir", bad.Dir).CombinedOutput()
	require.NoError(t, err, "%s", verified)
}

// A difference that nobody looked for is found when the members compact.
func TestCorruptionIsFoundByCompaction(t *testing.T) {
	t.Parallel()
	g := process.NewGroup(t, 3, "--compact-hash-check-time", "1s", "--feature-gates", "InitialCorruptCheck=false")
	c := g.Connect()
	for i := range 50 {
		_, err := c.Put(within(t, patience), fmt.Sprint("k", i), fmt.Sprintf("value-%d-", i))
		require.NoError(t, err)
	}
	g.Agree()
	bad := g.Followers()[0]
	id := g.Status(bad).Header.MemberId
	bad.Stop()
	spoil(t, bad, "value-7-")
	lead := g.Leader()
	bad.Launch()
	bad.Await()
	al, err := g.Connect(lead).AlarmList(within(t, patience))
	require.NoError(t, err)
	require.Empty(t, al.Alarms)
	r, err := c.Get(within(t, patience), "k1")
	require.NoError(t, err)
	_, err = g.Connect(lead).Compact(within(t, patience), r.Header.Revision)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		r, err := g.Connect(lead).AlarmList(within(t, patience))
		return err == nil && len(r.Alarms) == 1 && r.Alarms[0].MemberID == id
	}, patience, 200*time.Millisecond)
}
