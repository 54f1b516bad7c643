package machine

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// A new member counts three changes before the first of its users (v2-http.md K-08), and a machine that is opened anew
// goes on where it was.
func TestTreeIsPartOfTheState(t *testing.T) {
	eng := mem.New()
	var m *Machine
	open := func() {
		var err error
		m, err = Open(Config{}, eng)
		require.NoError(t, err)
	}
	open()
	index := uint64(0)
	apply := func(entries ...*raftpb.Entry) *Effects {
		eff := &Effects{}
		for _, e := range entries {
			index++
			e.Index, e.Term = new(index), new(uint64(1))
		}
		require.NoError(t, m.Apply(entries, eff))
		return eff
	}
	command := func(k wire.Kind, body []byte) *raftpb.Entry {
		return &raftpb.Entry{Data: wire.AppendCommand(nil, &wire.Command{ID: index + 1, Kind: k, Body: body})}
	}
	message := func(k wire.Kind, msg proto.Message) *raftpb.Entry {
		b, err := proto.Marshal(msg)
		require.NoError(t, err)
		return command(k, b)
	}
	v2 := func(q wire.V2Request) *raftpb.Entry { return command(wire.KindV2, q.Append(nil)) }
	boot, err := cluster.BootstrapEntries([]cluster.Member{{ID: 7, PeerURLs: []string{"http://a:1"}, Name: "a"}})
	require.NoError(t, err)
	apply(boot...)
	apply(message(wire.KindMemberAttrSet, &membershippb.ClusterMemberAttrSetRequest{Member_ID: 7, MemberAttributes: &membershippb.Attributes{Name: "a"}}),
		message(wire.KindClusterVersionSet, &membershippb.ClusterVersionSetRequest{Ver: "3.7.0"}))
	require.EqualValues(t, 3, m.View().Tree.Index)

	at := func(s int64) int64 { return int64(tree.Permanent) + s }
	for _, c := range []struct {
		q    wire.V2Request
		want string
	}{
		{wire.V2Request{Method: wire.V2Put, Path: "/1/a/b", Val: "1"}, "set /a/b 4"},
		{wire.V2Request{Method: wire.V2Put, Path: "/1/a/b/", Val: "2", PrevExist: new(true)}, "update /a/b 5"},
		{wire.V2Request{Method: wire.V2Put, Path: "/1/a/b", Val: "2", PrevExist: new(true), PrevValue: "x"}, "101 [x != 2]"},
		{wire.V2Request{Method: wire.V2Put, Path: "/1/a/b", Val: "3", PrevIndex: 5}, "compareAndSwap /a/b 6"},
		{wire.V2Request{Method: wire.V2Put, Path: "/1/a/b", PrevExist: new(false)}, "105 /a/b"},
		{wire.V2Request{Method: wire.V2Put, Path: "/1/t", Val: "x", Expiration: at(5)}, "set /t 7"},
		{wire.V2Request{Method: wire.V2Post, Path: "/1/q", Val: "x"}, "create /q/00000000000000000008 8"},
		{wire.V2Request{Method: wire.V2Delete, Path: "/1/a/b", PrevValue: "3"}, "compareAndDelete /a/b 9"},
		{wire.V2Request{Method: wire.V2Delete, Path: "/1/q", Recursive: true}, "delete /q 10"},
		{wire.V2Request{Method: wire.V2Delete, Path: "/1", Recursive: true}, "107 /"},
		{wire.V2Request{Method: wire.V2Put, Path: "/0/members"}, "cairn: the path"},
		{wire.V2Request{Method: wire.V2Put, Path: "/11/x"}, "cairn: the path"},
		{wire.V2Request{Method: wire.V2Put, Path: "/1/../0/x", Val: "v"}, "set /0/x 11"}, // never out of the users' part
		{wire.V2Request{Method: "PATCH", Path: "/1/x"}, "cairn: no such v2 method"},
	} {
		eff := apply(v2(c.q))
		r := eff.Results[0]
		got := ""
		if r.Event != nil {
			got = fmt.Sprintf("%s %s %d", r.Event.Action, r.Event.Node.Path, r.Event.Index)
			require.Equal(t, []*tree.Event{r.Event}, eff.Events)
		} else if e, ok := r.Err.(*tree.Error); ok {
			got = fmt.Sprintf("%d %s", e.Code, e.Cause)
		} else {
			got = r.Err.Error()
		}
		require.Contains(t, got, c.want)
		if index%3 == 0 {
			open()
		}
	}
	require.Empty(t, apply(v2(wire.V2Request{Method: wire.V2Sync, Time: at(4)})).Events)
	eff := apply(v2(wire.V2Request{Method: wire.V2Sync, Time: at(5)}))
	require.Len(t, eff.Events, 1)
	require.Equal(t, tree.Expire, eff.Events[0].Action)
	require.Equal(t, at(5), eff.Events[0].Time)
	apply(v2(wire.V2Request{Method: wire.V2Put, Path: "/1/timed", Val: "x", Time: at(7)}))
	before := m.View().Tree
	open()
	found, err := m.View().Tree.Search("/timed", false, before.Index)
	require.NoError(t, err)
	require.Equal(t, at(7), found.Time, "W-11: an event knows when it was")
	require.Equal(t, before.Index, m.View().Tree.Index)
	require.Equal(t, before.Len(), m.View().Tree.Len())
	require.EqualValues(t, 1, m.View().KV.Rev(), "the v3 keyspace has seen nothing of it")
}
