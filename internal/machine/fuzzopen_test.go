package machine

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
	"github.com/cairn-kv/cairn/test/fuzz"
)

// damage changes a database as its input says. Each step names a space, what to do, the place of a pair or a new key, and
// bytes.
func damage(t *testing.T, eng engine.Engine, b []byte) {
	for n := 0; len(b) >= 4 && n < 32; n++ {
		s := engine.Spaces[int(b[0])%len(engine.Spaces)]
		do, at, size := b[1]%4, int(b[2]), min(int(b[3]), len(b)-4)
		text := slices.Clone(b[4 : 4+size])
		b = b[4+size:]
		var keys, values [][]byte
		require.NoError(t, eng.Scan(s, nil, nil, func(k, v []byte) bool {
			keys, values = append(keys, slices.Clone(k)), append(values, slices.Clone(v))
			return true
		}))
		batch := eng.NewBatch()
		switch {
		case do == 0: // a pair of any key and value
			cut := min(at, len(text))
			if cut > 0 {
				batch.Set(s, text[:cut], text[cut:])
			}
		case len(keys) == 0:
		case do == 1:
			batch.Delete(s, keys[at%len(keys)])
		case do == 2:
			batch.Set(s, keys[at%len(keys)], text)
		default: // bits of a value, from a place on
			v := values[at%len(keys)]
			for i := 1; i < len(text) && len(v) > 0; i++ {
				v[(int(text[0])+i-1)%len(v)] ^= text[i]
			}
			batch.Set(s, keys[at%len(keys)], v)
		}
		require.NoError(t, eng.Commit(batch))
	}
}

// FuzzOpen opens databases that are damaged, as one that is restored or comes from another member may be: there is an error,
// or a machine that does everything and can be opened again.
func FuzzOpen(f *testing.F) {
	bases := applySeeds(f)
	for i := range bases {
		f.Add(byte(i), []byte{})
		for space := range engine.Spaces {
			f.Add(byte(i), []byte{byte(space), 1, 0, 0})
			f.Add(byte(i), []byte{byte(space), 2, 1, 0})
			f.Add(byte(i), append([]byte{byte(space), 3, 0, 3, 0, 1, 0x80, byte(space), 0, 4, 6}, "keyval"...))
		}
	}
	f.Fuzz(func(t *testing.T, base byte, b []byte) {
		boot, err := cluster.BootstrapEntries([]cluster.Member{{ID: 7, PeerURLs: []string{"http://a:1"}, Name: "a"}})
		require.NoError(t, err)
		log := boot
		fuzzSteps(bases[int(base)%len(bases)], func(kind, _ byte, body []byte) {
			log = append(log, fuzzEntry(kind, "", 0, uint64(len(log)+1), body))
		})
		eng := mem.New()
		m, err := Open(Config{MinLeaseTTLSeconds: 2}, eng)
		require.NoError(t, err)
		require.NoError(t, m.Apply(log, &Effects{}))
		damage(t, eng, b)
		frugal := fuzz.Frugal(t, mostPerEntry)
		m, err = Open(Config{MinLeaseTTLSeconds: 2}, eng)
		frugal()
		if err != nil {
			require.NotEmpty(t, b)
			return
		}
		_ = visible(m)
		use(t, m)
		require.NoError(t, eng.Flush())
		o, err := Open(Config{MinLeaseTTLSeconds: 2}, eng)
		require.NoError(t, err, "it has opened before")
		require.Equal(t, visible(m), visible(o))
	})
}

// use has a machine do a bit of everything.
func use(t *testing.T, m *Machine) {
	index := m.Applied()
	do := func(k wire.Kind, body []byte) {
		index++
		if index == 0 {
			return // there is no entry behind the last one
		}
		e := fuzzEntry(stepRaw, "", 0, index, wire.AppendCommand(nil, &wire.Command{ID: index, Kind: k, Body: body}))
		require.NoError(t, m.Apply([]*raftpb.Entry{e}, &Effects{}))
	}
	message := func(k wire.Kind, q proto.Message) {
		b, err := proto.Marshal(q)
		require.NoError(t, err)
		do(k, b)
	}
	message(wire.KindAuthDisable, &pb.AuthDisableRequest{})
	rev := m.View().KV.Rev()
	message(wire.KindPut, &pb.PutRequest{Key: []byte("b"), Value: []byte("v"), PrevKv: true})
	message(wire.KindTxn, &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: max(rev, 1)}}}}})
	message(wire.KindLeaseRevoke, &pb.LeaseRevokeRequest{ID: 5})
	message(wire.KindAuthUserDelete, &pb.AuthUserDeleteRequest{Name: "ann"})
	message(wire.KindAuthRoleDelete, &pb.AuthRoleDeleteRequest{Role: "r"})
	for _, q := range []wire.V2Request{{Method: wire.V2Put, Path: "/1/a/c", Val: "x"}, {Method: wire.V2Sync, Time: 1 << 62},
		{Method: wire.V2Delete, Path: "/1/a", Dir: true, Recursive: true}} {
		do(wire.KindV2, q.Append(nil))
	}
	message(wire.KindDeleteRange, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true})
	message(wire.KindCompaction, &pb.CompactionRequest{Revision: m.View().KV.Rev()})
	for range 1000 {
		if _, _, due := m.Compaction(); !due {
			break
		}
		_, _, err := m.CompactStep(100)
		require.NoError(t, err)
	}
	_ = fmt.Sprint(m.View().Limits.Len())
}

// Records that are not what a keyspace writes are refused when they are read: a key is found by its place in its record.
func TestRecordsThatNobodyWrites(t *testing.T) {
	whole := wire.MakeKV(wire.Fields{Key: "k", CreateRevision: 2, ModRevision: 2, Version: 1, Value: "v"})
	for name, c := range map[string]struct {
		record string
		tomb   bool
		want   string
	}{
		"no key":                     {"\x10\x02\x18\x02\x20\x01", false, "malformed"},
		"a tombstone without a key":  {"\x10\x02", true, "malformed"},
		"an empty key":               {"\x0a\x00\x10\x02\x18\x02\x20\x01", false, "malformed"},
		"a length that is too long":  {"\x0a\x81\x00k\x10\x02\x18\x02\x20\x01", false, "malformed"},
		"a field that says nothing":  {"\x0a\x01k\x10\x02\x18\x02\x20\x01\x30\x00", false, "malformed"},
		"a key alone, of a live one": {"\x0a\x01k", false, "is one of revision 0"},
		"another revision":           {string(wire.MakeKV(wire.Fields{Key: "k", CreateRevision: 2, ModRevision: 3, Version: 1})), false, "is one of revision 3"},
		"good":                       {string(whole), false, ""},
		"a good tombstone":           {"\x0a\x01k", true, ""},
	} {
		eng := mem.New()
		b := eng.NewBatch()
		b.Set(engine.Key, wire.AppendRevKey(nil, wire.Rev{Main: 2}, c.tomb), []byte(c.record))
		require.NoError(t, eng.Commit(b))
		m, err := Open(Config{}, eng)
		if c.want != "" {
			require.ErrorContains(t, err, c.want, name)
			continue
		}
		require.NoError(t, err, name)
		require.EqualValues(t, 2, m.View().KV.Rev())
	}
}

// Nor are records taken that are another's.
func TestRecordsUnderOtherNames(t *testing.T) {
	user, err := proto.Marshal(&authpb.User{Name: []byte("ann")})
	require.NoError(t, err)
	role, err := proto.Marshal(&authpb.Role{Name: []byte("r")})
	require.NoError(t, err)
	for _, c := range []struct {
		space       engine.Space
		key, record string
		want        string
	}{
		{engine.AuthUsers, "ann", string(user), ""},
		{engine.AuthUsers, "bob", string(user), `record "bob" of authUsers: it is that of "ann"`},
		{engine.AuthUsers, "ann", "", `it is that of ""`},
		{engine.AuthRoles, "r", string(role), ""},
		{engine.AuthRoles, "s", string(role), `record "s" of authRoles: it is that of "r"`},
		{engine.Members, "7", `{"id":7}`, ""},
		{engine.Members, "8", `{"id":7}`, `member record "8": it is that of 7`},
	} {
		eng := mem.New()
		b := eng.NewBatch()
		b.Set(c.space, []byte(c.key), []byte(c.record))
		require.NoError(t, eng.Commit(b))
		if _, err := Open(Config{}, eng); c.want != "" {
			require.ErrorContains(t, err, c.want)
		} else {
			require.NoError(t, err)
		}
	}
}
