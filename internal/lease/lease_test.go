package lease

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine/mem"
)

func TestTable(t *testing.T) {
	eng := mem.New()
	tab, err := Open(eng)
	require.NoError(t, err)
	b := eng.NewBatch()
	for _, id := range []int64{-5, 1, 2} {
		tab.Put(b, Lease{ID: id, TTL: 10 * max(id, 1), RemainingSeconds: 3})
	}
	tab.Attach(1, "b")
	tab.Attach(1, "a")
	tab.Attach(2, "c")
	tab.Attach(99, "nobody's")
	old := tab.View()
	require.Equal(t, []string{"a", "b"}, old.Keys(1))
	require.Empty(t, old.Keys(99))
	tab.Detach(1, "b")
	tab.Delete(b, 2)  // with a key
	tab.Delete(b, -5) // without one
	v := tab.View()
	require.Equal(t, []string{"a"}, v.Keys(1))
	require.Empty(t, v.Keys(2))
	for _, gone := range []int64{2, -5} {
		_, ok := v.Get(gone)
		require.False(t, ok)
	}
	require.Equal(t, 1, v.Len())
	require.Equal(t, 3, old.Len(), "a view never changes")
	require.Equal(t, []string{"a", "b"}, old.Keys(1))
	require.NoError(t, eng.Commit(b))

	again, err := Open(eng)
	require.NoError(t, err)
	l, ok := again.Get(1)
	require.True(t, ok)
	require.Equal(t, Lease{ID: 1, TTL: 10, RemainingSeconds: 3}, l)
	require.Equal(t, 1, again.View().Len())
}
