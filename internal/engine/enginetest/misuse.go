package enginetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
)

func testMistakes(t *testing.T, h Harness) {
	e := h.Open(t)
	cases := []struct {
		name   string
		change func(engine.Batch)
		want   error
	}{
		{"space 0", set(0, "k", ""), engine.ErrSpace},
		{"space behind the last", set(engine.Tree+1, "k", ""), engine.ErrSpace},
		{"delete in space 0", del(0, "k"), engine.ErrSpace},
		{"range in space 0", delRange(0, nil, nil), engine.ErrSpace},
		{"set of an empty key", set(engine.Key, "", "v"), engine.ErrEmptyKey},
		{"delete of an empty key", del(engine.Key, ""), engine.ErrEmptyKey},
	}
	for _, c := range cases {
		b := e.NewBatch()
		b.Set(engine.Key, []byte("first"), nil)
		c.change(b)
		b.Set(engine.Key, []byte("last"), nil)
		require.ErrorIs(t, e.Commit(b), c.want, c.name)
		require.Empty(t, dump(t, e, engine.Key, nil, nil), c.name)
	}
	_, _, err := e.Get(0, []byte("k"))
	require.ErrorIs(t, err, engine.ErrSpace)
	require.ErrorIs(t, e.Scan(99, nil, nil, nil), engine.ErrSpace)
}

func testMisuse(t *testing.T, h Harness) {
	e := h.Open(t)
	b := e.NewBatch()
	b.Set(engine.Key, []byte("a"), []byte("1"))
	require.NoError(t, e.Commit(b))
	b.Set(engine.Key, []byte("b"), []byte("1")) // dead: must do nothing
	require.ErrorIs(t, e.Commit(b), engine.ErrBatch)
	require.ErrorIs(t, e.Commit(nil), engine.ErrBatch)
	require.Equal(t, "a=1", dump(t, e, engine.Key, nil, nil))

	v := e.View()
	v.Release()
	v.Release()
	_, _, err := v.Get(engine.Key, []byte("a"))
	require.ErrorIs(t, err, engine.ErrReleased)
	require.ErrorIs(t, v.Scan(engine.Key, nil, nil, nil), engine.ErrReleased)

	held, late := e.View(), e.NewBatch()
	late.Set(engine.Key, []byte("b"), nil)
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
	_, _, err = held.Get(engine.Key, []byte("a"))
	require.ErrorIs(t, err, engine.ErrClosed)
	held.Release()
	_, _, err = e.Get(engine.Key, []byte("a"))
	require.ErrorIs(t, err, engine.ErrClosed)
	require.ErrorIs(t, e.Commit(late), engine.ErrClosed)
	require.ErrorIs(t, e.Flush(), engine.ErrClosed)
	after := e.NewBatch()
	after.Set(engine.Key, []byte("c"), nil)
	require.ErrorIs(t, e.Commit(after), engine.ErrClosed)
	after = e.NewBatch()
	after.DeleteRange(engine.Key, nil, nil)
	require.ErrorIs(t, e.Commit(after), engine.ErrClosed)
	closed := e.View()
	_, _, err = closed.Get(engine.Key, []byte("a"))
	require.ErrorIs(t, err, engine.ErrClosed)
	closed.Release()
	_ = e.Size()
}

func testCopies(t *testing.T, h Harness) {
	e := h.Open(t)
	key, value := []byte("key"), []byte("value")
	b := e.NewBatch()
	b.Set(engine.Key, key, value)
	copy(key, "xxx")
	copy(value, "xxxxx")
	require.NoError(t, e.Commit(b))
	got, ok, err := e.Get(engine.Key, []byte("key"))
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "value", string(got))
	copy(got, "yyyyy")
	require.Equal(t, "key=value", dump(t, e, engine.Key, nil, nil))
}

func testScan(t *testing.T, h Harness) {
	e := h.Open(t)
	for _, k := range []string{"a", "b", "c"} {
		commit(t, e, set(engine.Key, k, k))
	}
	v := e.View()
	defer v.Release()
	seen := ""
	require.NoError(t, v.Scan(engine.Key, nil, nil, func(k, _ []byte) bool {
		seen += string(k)
		require.NoError(t, v.Scan(engine.Key, k, nil, func(inner, _ []byte) bool {
			seen += "(" + string(inner) + ")"
			return false
		}))
		_, ok, err := v.Get(engine.Key, k)
		require.NoError(t, err)
		require.True(t, ok)
		return string(k) != "b"
	}))
	require.Equal(t, "a(a)b(b)", seen)

	// Closing beside a scan ends it with an error or lets it finish; it never
	// waits for a nested call, and never breaks.
	closed := make(chan error, 1)
	err := v.Scan(engine.Key, nil, nil, func(k, _ []byte) bool {
		if string(k) == "a" {
			go func() { closed <- e.Close() }()
		}
		_, _, _ = v.Get(engine.Key, k)
		return true
	})
	if err != nil {
		require.ErrorIs(t, err, engine.ErrClosed)
	}
	require.NoError(t, <-closed)
}
