package mvcc

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

func TestVerify(t *testing.T) {
	type record struct {
		rev  int64
		dead bool
		f    wire.Fields
	}
	put := func(key string, create, mod, version int64) record {
		return record{rev: mod, f: wire.Fields{Key: key, CreateRevision: create, ModRevision: mod, Version: version, LeaseID: 7}}
	}
	del := func(key string, rev int64) record { return record{rev: rev, dead: true, f: wire.Fields{Key: key}} }
	for _, c := range []struct {
		name    string
		records []record
		want    []string
	}{
		{"sound", []record{put("a", 2, 2, 1), put("a", 2, 3, 2), del("a", 4), put("a", 5, 5, 1), put("b", 6, 6, 1)}, nil},
		{"version", []record{put("a", 2, 2, 1), put("a", 2, 3, 3)}, []string{`key "a" at revision 3.0 has version 3, created at 2; before it were version 1 and 2`}},
		{"created anew", []record{put("a", 2, 2, 1), put("a", 3, 3, 2)}, []string{"created at 3"}},
		{"deleted twice", []record{put("a", 2, 2, 1), del("a", 3), del("a", 4)}, []string{`key "a" is deleted at revision 4.0, but is not there before`}},
		{"no beginning", []record{put("a", 2, 5, 4)}, []string{"no earlier ones are there"}},
		{"another revision", []record{{rev: 3, f: wire.Fields{Key: "a", CreateRevision: 2, ModRevision: 2, Version: 1}}}, []string{"says that its revision is 2"}},
	} {
		eng := mem.New()
		b := eng.NewBatch()
		for _, r := range c.records {
			kv := wire.MakeKV(r.f)
			if r.dead {
				kv = wire.Tombstone(r.f.Key)
			}
			b.Set(engine.Key, wire.AppendRevKey(nil, wire.Rev{Main: r.rev}, r.dead), kv.Bytes())
		}
		require.NoError(t, eng.Commit(b))
		var faults []string
		v, err := Verify(eng, func(err error) { faults = append(faults, err.Error()) })
		require.NoError(t, err)
		require.Len(t, faults, len(c.want), "%s: %v", c.name, faults)
		for i := range faults {
			require.Contains(t, faults[i], c.want[i], c.name)
		}
		require.Equal(t, len(c.records), v.Records)
	}
	eng := mem.New()
	b := eng.NewBatch()
	b.Set(engine.Key, []byte("short"), nil)
	b.Set(engine.Key, wire.AppendRevKey(nil, wire.Rev{Main: 9}, false), []byte{0xff})
	require.NoError(t, eng.Commit(b))
	n := 0
	_, err := Verify(eng, func(err error) { n++; require.NotEmpty(t, fmt.Sprint(err)) })
	require.NoError(t, err)
	require.Equal(t, 2, n)
}
