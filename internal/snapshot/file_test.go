package snapshot_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/test/fuzz"
)

// The fixture was saved from an etcd 3.4 server; the figures are what its own
// tool says about it.
const fixture = "testdata/etcd-3.4.db"

func TestFileSavedByEtcd(t *testing.T) {
	s, err := snapshot.ReadStatus(vfs.OS(), fixture, false)
	require.NoError(t, err)
	require.Equal(t, snapshot.Status{Hash: 593377235, Revision: 33, Keys: 30, Pairs: 37, Size: 24576}, s)
	copied := filepath.Join(t.TempDir(), "db")
	data, err := os.ReadFile(fixture)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(copied, data[:len(data)-32], 0o600))
	require.Equal(t, byBolt(t, copied), byUs(t, fixture))
}

func TestLoadAndWriteAgainKeepsEveryPair(t *testing.T) {
	e := mem.New()
	f, err := snapshot.OpenFile(vfs.OS(), fixture)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Load(context.Background(), e, nil))
	require.Zero(t, e.Unflushed())
	v := e.View()
	defer v.Release()
	path := write(t, plan(t, v, snapshot.Options{}), true)
	was, err := f.Status()
	require.NoError(t, err)
	is, err := snapshot.ReadStatus(vfs.OS(), path, false)
	require.NoError(t, err)
	require.Equal(t, was.Revision, is.Revision)
	require.Equal(t, was.Keys, is.Keys)
	require.Equal(t, was.Pairs, is.Pairs)
	want := byUs(t, fixture)
	for name := range etcdBuckets() {
		if want[name] == nil {
			want[name] = map[string]string{} // newer than 3.4
		}
	}
	require.Equal(t, want, byUs(t, path))

	few := mem.New()
	require.NoError(t, f.Load(context.Background(), few, func(s engine.Space, _ []byte) bool { return s == engine.Meta }))
	_, ok, err := few.Get(engine.Meta, []byte("consistent_index"))
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, few.Scan(engine.Key, nil, nil, func(_, _ []byte) bool { t.Error("not wanted"); return false }))

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, f.Load(ctx, mem.New(), nil), context.Canceled)
}

func TestStatusOfOurFilesAsEtcdctlSeesIt(t *testing.T) {
	etcdctl, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Skip("no etcdctl here")
	}
	e := mem.New()
	f, err := snapshot.OpenFile(vfs.OS(), fixture)
	require.NoError(t, err)
	require.NoError(t, f.Load(context.Background(), e, nil))
	require.NoError(t, f.Close())
	v := e.View()
	defer v.Release()
	path := write(t, plan(t, v, snapshot.Options{}), true)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, etcdctl, "snapshot", "status", path, "-w", "json")
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("this etcdctl cannot tell: %v", err)
	}
	var theirs struct {
		Hash      uint32
		Revision  int64
		TotalKey  int
		TotalSize int64
	}
	require.NoError(t, json.Unmarshal(out, &theirs))
	ours, err := snapshot.ReadStatus(vfs.OS(), path, false)
	require.NoError(t, err)
	require.Equal(t, theirs.Hash, ours.Hash)
	require.Equal(t, theirs.Revision, ours.Revision)
	require.Equal(t, theirs.TotalKey, ours.Pairs)
	require.Equal(t, theirs.TotalSize, ours.Size)
}

func TestStatusCountsLiveKeys(t *testing.T) {
	e, want := mem.New(), etcdBuckets()
	record := func(main uint64, tombstone bool, key string) {
		k := binary.BigEndian.AppendUint64(nil, main)
		k = append(k, '_', 0, 0, 0, 0, 0, 0, 0, 0)
		if tombstone {
			k = append(k, 't')
		}
		value := []byte{}
		if key != "" {
			value = append([]byte{0x0a, byte(len(key))}, key...)
		}
		set(t, e, want, engine.Key, k, value)
	}
	record(2, false, "a")
	record(3, false, "a")
	record(4, false, "b")
	record(5, true, "b")
	record(6, false, "c")
	record(900, false, "") // what marks a raised revision
	set(t, e, want, engine.Meta, []byte("storageVersion"), []byte("3.7.0"))
	v := e.View()
	defer v.Release()
	s, err := snapshot.ReadStatus(vfs.OS(), write(t, plan(t, v, snapshot.Options{}), true), false)
	require.NoError(t, err)
	require.Equal(t, 2, s.Keys)
	require.Equal(t, 7, s.Pairs)
	require.EqualValues(t, 900, s.Revision)
	require.Equal(t, "3.7.0", s.Version)
}

func TestGarbageGivesClearErrors(t *testing.T) {
	good, err := os.ReadFile(fixture)
	require.NoError(t, err)
	cases := []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, snapshot.ErrNotDatabase},
		{"short", []byte("hello"), snapshot.ErrNotDatabase},
		{"text", bytes.Repeat([]byte("hello world "), 1000), snapshot.ErrNotDatabase},
		{"zeros", make([]byte, 16384), snapshot.ErrNotDatabase},
		{"cut in half", good[:len(good)/2/4096*4096], snapshot.ErrDamaged},
	}
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), "db")
		require.NoError(t, os.WriteFile(path, c.data, 0o600))
		_, err := snapshot.ReadStatus(vfs.OS(), path, true)
		require.ErrorIs(t, err, c.want, c.name)
		require.ErrorContains(t, err, path, c.name)
	}
	_, err = snapshot.OpenFile(vfs.OS(), filepath.Join(t.TempDir(), "none"))
	require.True(t, vfs.IsNotExist(err))
}

func TestEitherMetaIsEnough(t *testing.T) {
	good, err := os.ReadFile(fixture)
	require.NoError(t, err)
	for _, page := range []int{0, 1} {
		bad := bytes.Clone(good)
		clear(bad[page*4096 : page*4096+100])
		path := filepath.Join(t.TempDir(), "db")
		require.NoError(t, os.WriteFile(path, bad, 0o600))
		_, err := snapshot.ReadStatus(vfs.OS(), path, true)
		require.NoError(t, err)
	}
}

func TestFileInUseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	_, err = snapshot.OpenFile(vfs.OS(), path)
	require.ErrorIs(t, err, snapshot.ErrInUse)
	require.NoError(t, db.Close())
	f, err := snapshot.OpenFile(vfs.OS(), path)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestErrorsOfTheVisitorComeBack(t *testing.T) {
	f, err := snapshot.OpenFile(vfs.OS(), fixture)
	require.NoError(t, err)
	defer f.Close()
	own := errors.New("own")
	require.Equal(t, own, f.Each("key", func(_, _ []byte) error { return own }))
	require.Equal(t, own, f.All(func(_, _, _ []byte) error { return own }))
	require.NoError(t, f.Each("no such bucket", func(_, _ []byte) error { return own }))
}

// FuzzFile reads a file with some bytes changed: an error or some pairs, and
// never more. The input is a list of changes, six bytes each: where, and what.
func FuzzFile(f *testing.F) {
	good, err := os.ReadFile(fixture)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	for _, at := range []uint32{16, 24, 32, 40, 4096 + 32, 4096*2 + 8, 4096*3 + 10, 4096*3 + 16, 4096*4 + 12, 4096*5 + 20} {
		f.Add(append(binary.LittleEndian.AppendUint32(nil, at), 0xff, 0x01))
		f.Add(append(binary.LittleEndian.AppendUint32(nil, at), 0x02, 0x00))
	}
	f.Fuzz(func(t *testing.T, changes []byte) {
		defer fuzz.Frugal(t, 32<<20)()
		data := bytes.Clone(good)
		for ; len(changes) >= 6; changes = changes[6:] {
			at := int(binary.LittleEndian.Uint32(changes)) % (len(data) - 1)
			data[at] ^= changes[4]
			data[at+1] ^= changes[5]
		}
		// Metas that were hit count all the same.
		for _, page := range []int{0, 4096} {
			m := data[page+16:]
			h := fnv.New64a()
			h.Write(m[:56])
			binary.LittleEndian.PutUint64(m[56:], h.Sum64())
		}
		fs := vfs.NewMemory()
		require.NoError(t, vfs.WriteFile(fs, "/db", data))
		file, err := snapshot.OpenFile(fs, "/db")
		if err != nil {
			return
		}
		defer file.Close()
		pairs := 0
		err = file.All(func(_, _, _ []byte) error { pairs++; return nil })
		s, statusErr := file.Status()
		require.Equal(t, err == nil, statusErr == nil)
		if err == nil {
			require.Equal(t, pairs, s.Pairs)
		}
		require.LessOrEqual(t, pairs, len(data)/16*32)
		_, _ = file.Buckets()
		_ = file.CheckSum()
		eng := mem.New()
		if file.Load(t.Context(), eng, nil) != nil {
			require.Error(t, err)
			return // part of it may be there
		}
		for _, s := range engine.Spaces { // there may be damage in other buckets
			want, got := map[string]string{}, map[string]string{}
			require.NoError(t, file.Each(s.Bucket(), func(k, v []byte) error { want[string(k)] = string(v); return nil }))
			require.NoError(t, eng.Scan(s, nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }))
			require.Equal(t, want, got)
		}
	})
}

func TestDamageIsBounded(t *testing.T) {
	good, err := os.ReadFile(fixture)
	require.NoError(t, err)
	fs := vfs.NewMemory()
	failed := 0
	for at := 2 * 4096; at+8 < len(good)-32; at += 3 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x55
		name := fmt.Sprintf("/%d", at%7)
		require.NoError(t, vfs.WriteFile(fs, name, bad))
		f, err := snapshot.OpenFile(fs, name)
		require.NoError(t, err)
		if _, err := f.Status(); err != nil {
			require.ErrorIs(t, err, snapshot.ErrDamaged)
			failed++
		}
		require.ErrorAs(t, f.CheckSum(), new(*snapshot.SumError))
		require.NoError(t, f.Close())
	}
	require.Positive(t, failed)
}
