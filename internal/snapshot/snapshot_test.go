package snapshot_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// content is what a file should hold: bucket, key, value.
type content map[string]map[string]string

func etcdBuckets() content {
	c := content{}
	for _, s := range engine.Spaces {
		if s != engine.Tree {
			c[s.Bucket()] = map[string]string{}
		}
	}
	return c
}

func set(t *testing.T, e engine.Engine, c content, s engine.Space, key, value []byte) {
	t.Helper()
	b := e.NewBatch()
	b.Set(s, key, value)
	require.NoError(t, e.Commit(b))
	if c[s.Bucket()] != nil {
		c[s.Bucket()][string(key)] = string(value)
	}
}

func write(t *testing.T, im *snapshot.Image, sum bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snap.db")
	f, err := os.Create(path)
	require.NoError(t, err)
	want := im.Size()
	var n int64
	if sum {
		n, err = im.WriteWithSum(f)
		want += snapshot.SumSize
	} else {
		n, err = im.WriteTo(f)
	}
	require.NoError(t, err)
	require.Equal(t, want, n)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, want, info.Size())
	require.NoError(t, f.Close())
	return path
}

// byBolt reads a file with bbolt, which also checks its pages.
func byBolt(t *testing.T, path string) content {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
	require.NoError(t, err)
	defer db.Close()
	c := content{}
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			pairs := map[string]string{}
			c[string(name)] = pairs
			n := 0
			err := b.ForEach(func(k, v []byte) error {
				pairs[string(k)] = string(v)
				n++
				if got := b.Get(k); !bytes.Equal(got, v) {
					t.Errorf("Get(%q) is not what the cursor shows", k)
				}
				return nil
			})
			require.Len(t, pairs, n)
			return err
		})
	}))
	return c
}

func byUs(t *testing.T, path string) content {
	t.Helper()
	f, err := snapshot.OpenFile(vfs.OS(), path)
	require.NoError(t, err)
	defer f.Close()
	c := content{}
	names, err := f.Buckets()
	require.NoError(t, err)
	for _, name := range names {
		c[name] = map[string]string{}
		require.NoError(t, f.Each(name, func(k, v []byte) error {
			c[name][string(k)] = string(v)
			return nil
		}))
	}
	all := 0
	require.NoError(t, f.All(func(bucket, k, v []byte) error {
		require.Equal(t, c[string(bucket)][string(k)], string(v))
		all++
		return nil
	}))
	for _, pairs := range c {
		all -= len(pairs)
	}
	require.Zero(t, all)
	return c
}

func plan(t *testing.T, v engine.View, o snapshot.Options) *snapshot.Image {
	t.Helper()
	im, err := snapshot.Plan(context.Background(), v, o)
	require.NoError(t, err)
	return im
}

func TestImagesReadBack(t *testing.T) {
	cases := []struct {
		name string
		fill func(set func(s engine.Space, key, value []byte))
	}{
		{"nothing", func(func(engine.Space, []byte, []byte)) {}},
		{"one pair", func(set func(engine.Space, []byte, []byte)) { set(engine.Meta, []byte("k"), []byte("v")) }},
		{"an empty value", func(set func(engine.Space, []byte, []byte)) { set(engine.Alarm, []byte("k"), nil) }},
		{"every space", func(set func(engine.Space, []byte, []byte)) {
			for _, s := range engine.Spaces {
				set(s, []byte("key of "+s.Bucket()), []byte("v"))
			}
		}},
		{"a page filled to the last byte, and one more", func(set func(engine.Space, []byte, []byte)) {
			for i, over := range []int{0, 1} {
				s := []engine.Space{engine.Key, engine.Meta}[i]
				for j := range 4 {
					set(s, []byte{byte(j)}, make([]byte, 1020-16-1+over*(j/3)))
				}
			}
		}},
		{"values over many pages", func(set func(engine.Space, []byte, []byte)) {
			for i := range 40 {
				set(engine.Key, fmt.Appendf(nil, "%03d", i), bytes.Repeat([]byte{byte(i)}, i*1500))
			}
			set(engine.Key, []byte("large"), bytes.Repeat([]byte("x"), 3<<20))
		}},
		{"keys longer than a page", func(set func(engine.Space, []byte, []byte)) {
			for i := range 30 {
				set(engine.Auth, append(bytes.Repeat([]byte("k"), 5000), byte(i)), []byte("v"))
			}
		}},
		{"random sizes", func(set func(engine.Space, []byte, []byte)) {
			rng := rand.New(rand.NewPCG(1, 2))
			for range 3000 {
				s := engine.Spaces[rng.IntN(len(engine.Spaces))]
				key := make([]byte, 1+rng.IntN(60))
				for i := range key {
					key[i] = byte(rng.Uint32())
				}
				value := make([]byte, rng.IntN(300))
				if rng.IntN(50) == 0 {
					value = make([]byte, rng.IntN(30000))
				}
				set(s, key, value)
			}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e, want := mem.New(), etcdBuckets()
			c.fill(func(s engine.Space, key, value []byte) { set(t, e, want, s, key, value) })
			v := e.View()
			defer v.Release()
			im := plan(t, v, snapshot.Options{})
			path := write(t, im, true)
			require.Equal(t, want, byUs(t, path))
			require.Equal(t, want, byBolt(t, path))
			again := write(t, im, false)
			require.Equal(t, want, byBolt(t, again))
		})
	}
}

func TestManyRecords(t *testing.T) {
	const n = 200_000
	e, b := mem.New(), engine.Batch(nil)
	b = e.NewBatch()
	var key [17]byte
	for i := range n {
		binary.BigEndian.PutUint64(key[:], uint64(i))
		key[8] = '_'
		b.Set(engine.Key, key[:], key[:])
	}
	require.NoError(t, e.Commit(b))
	v := e.View()
	defer v.Release()
	path := write(t, plan(t, v, snapshot.Options{}), false)
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Error(err)
		}
		b, i := tx.Bucket([]byte("key")), uint64(0)
		require.NoError(t, b.ForEach(func(k, v []byte) error {
			if binary.BigEndian.Uint64(k) != i || !bytes.Equal(k, v) {
				return fmt.Errorf("record %d is %x", i, k)
			}
			i++
			return nil
		}))
		require.EqualValues(t, n, i)
		// Pages are filled: 81 records of 50 bytes each.
		require.Equal(t, (n+80)/81, b.Stats().LeafPageN)
		binary.BigEndian.PutUint64(key[:], 123456)
		require.Equal(t, key[:], b.Get(key[:]))
		return nil
	}))
}

func TestBoltWritesToOurFiles(t *testing.T) {
	e, want := mem.New(), etcdBuckets()
	for i := range 500 {
		set(t, e, want, engine.Key, fmt.Appendf(nil, "%05d", i), make([]byte, 200))
	}
	v := e.View()
	defer v.Release()
	path := write(t, plan(t, v, snapshot.Options{}), true)
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("key"))
		for i := range 1000 {
			k := fmt.Appendf(nil, "%05d", i*3)
			want["key"][string(k)] = "new"
			require.NoError(t, b.Put(k, []byte("new")))
		}
		for i := range 200 {
			k := fmt.Appendf(nil, "%05d", i)
			delete(want["key"], string(k))
			require.NoError(t, b.Delete(k))
		}
		want["lease"]["l"] = "1"
		return tx.Bucket([]byte("lease")).Put([]byte("l"), []byte("1"))
	}))
	require.NoError(t, db.Close())
	require.Equal(t, want, byBolt(t, path))
	require.Equal(t, want, byUs(t, path))
}

func TestOptionsChangeWhatIsWritten(t *testing.T) {
	e, want := mem.New(), etcdBuckets()
	set(t, e, want, engine.Meta, []byte("b"), []byte("old"))
	set(t, e, want, engine.Meta, []byte("d"), []byte("old"))
	set(t, e, want, engine.Meta, []byte("f"), []byte("old"))
	set(t, e, want, engine.Members, []byte("m"), []byte("old"))
	set(t, e, want, engine.Tree, []byte("/a"), []byte("node"))
	v := e.View()
	defer v.Release()
	o := snapshot.Options{
		Skip: []engine.Space{engine.Members},
		Replace: map[engine.Space]map[string][]byte{
			engine.Meta:    {"a": []byte("first"), "b": []byte("new"), "c": []byte("between"), "d": nil, "gone": nil, "z": []byte("last")},
			engine.Members: {"n": []byte("new")},
			engine.Cluster: {"v": []byte("3.7.0"), "e": {}},
		},
	}
	want["meta"] = map[string]string{"a": "first", "b": "new", "c": "between", "f": "old", "z": "last"}
	want["members"] = map[string]string{"n": "new"}
	want["cluster"] = map[string]string{"v": "3.7.0", "e": ""}
	path := write(t, plan(t, v, o), false)
	require.Equal(t, want, byBolt(t, path))
	require.Equal(t, want, byUs(t, path))

	o.Tree = true
	want["tree"] = map[string]string{"/a": "node"}
	require.Equal(t, want, byBolt(t, write(t, plan(t, v, o), false)))
}

func TestSumFollowsThePages(t *testing.T) {
	e, want := mem.New(), etcdBuckets()
	set(t, e, want, engine.Key, []byte("k"), []byte("v"))
	v := e.View()
	defer v.Release()
	path := write(t, plan(t, v, snapshot.Options{}), true)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 32, len(data)%512)
	sum := sha256.Sum256(data[:len(data)-32])
	require.Equal(t, sum[:], data[len(data)-32:])

	check := func() error {
		f, err := snapshot.OpenFile(vfs.OS(), path)
		require.NoError(t, err)
		defer f.Close()
		return f.CheckSum()
	}
	require.NoError(t, check())
	data[len(data)-40] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o600))
	var sumErr *snapshot.SumError
	require.ErrorAs(t, check(), &sumErr)
	require.ErrorContains(t, check(), "expected sha256 [")
	require.NoError(t, os.WriteFile(path, data[:len(data)-32], 0o600))
	require.ErrorIs(t, check(), snapshot.ErrNoSum)
}

func TestStopsEarly(t *testing.T) {
	e, want := mem.New(), etcdBuckets()
	b := e.NewBatch()
	for i := range 20_000 {
		b.Set(engine.Key, fmt.Appendf(nil, "%05d", i), make([]byte, 100))
	}
	require.NoError(t, e.Commit(b))
	_ = want
	v := e.View()
	ctx, cancel := context.WithCancel(context.Background())
	im := plan(t, v, snapshot.Options{})
	cancel()
	_, err := snapshot.Plan(ctx, v, snapshot.Options{})
	require.ErrorIs(t, err, context.Canceled)

	broken := errors.New("broken")
	n, err := im.WriteTo(&limited{left: 1 << 20, err: broken})
	require.ErrorIs(t, err, broken)
	require.LessOrEqual(t, n, int64(1<<20))
	v.Release()
	_, err = im.WriteTo(io.Discard)
	require.ErrorIs(t, err, engine.ErrReleased)
	_, err = snapshot.Plan(context.Background(), v, snapshot.Options{})
	require.ErrorIs(t, err, engine.ErrReleased)
}

type limited struct {
	left int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return l.left, l.err
	}
	l.left -= len(p)
	return len(p), nil
}
