package machine

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

// kinds are the commands that a transcript can name; the text behind the name is the message in protobuf's text form.
var kinds = map[string]struct {
	kind wire.Kind
	make func() proto.Message
}{
	"put":        {wire.KindPut, func() proto.Message { return &pb.PutRequest{} }},
	"delete":     {wire.KindDeleteRange, func() proto.Message { return &pb.DeleteRangeRequest{} }},
	"txn":        {wire.KindTxn, func() proto.Message { return &pb.TxnRequest{} }},
	"compact":    {wire.KindCompaction, func() proto.Message { return &pb.CompactionRequest{} }},
	"grant":      {wire.KindLeaseGrant, func() proto.Message { return &pb.LeaseGrantRequest{} }},
	"revoke":     {wire.KindLeaseRevoke, func() proto.Message { return &pb.LeaseRevokeRequest{} }},
	"checkpoint": {wire.KindLeaseCheckpoint, func() proto.Message { return &pb.LeaseCheckpointRequest{} }},
	"alarm":      {wire.KindAlarm, func() proto.Message { return &pb.AlarmRequest{} }},
	"attributes": {wire.KindMemberAttrSet, func() proto.Message { return &membershippb.ClusterMemberAttrSetRequest{} }},
	"version":    {wire.KindClusterVersionSet, func() proto.Message { return &membershippb.ClusterVersionSetRequest{} }},
}

type script struct {
	t     *testing.T
	eng   *mem.Engine
	m     *Machine
	index uint64
}

func (s *script) open() {
	var err error
	s.m, err = Open(Config{MinLeaseTTLSeconds: 2}, s.eng)
	require.NoError(s.t, err)
}

// entry makes a log entry of one line.
func (s *script) entry(line string) *raftpb.Entry {
	s.index++
	e := &raftpb.Entry{Term: new(uint64(2)), Index: new(s.index)}
	name, text, _ := strings.Cut(line, " ")
	switch name {
	case "noop":
	case "garbage":
		e.Data = []byte{0xff, 0xff, 0xff}
	case "unknown":
		e.Data = wire.AppendCommand(nil, &wire.Command{ID: s.index, Kind: 7777})
	case "broken":
		k, err := strconv.Atoi(text)
		require.NoError(s.t, err)
		e.Data = wire.AppendCommand(nil, &wire.Command{ID: s.index, Kind: wire.Kind(k), Body: []byte{0x0a, 0xff}})
	case "conf":
		cc := &raftpb.ConfChange{}
		require.NoError(s.t, prototext.Unmarshal([]byte(text), cc))
		cc.Id = new(s.index)
		data, err := proto.Marshal(cc)
		require.NoError(s.t, err)
		e.Type, e.Data = raftpb.EntryConfChange.Enum(), data
	default:
		k, ok := kinds[name]
		require.True(s.t, ok, "unknown command %q", name)
		msg := k.make()
		require.NoError(s.t, prototext.Unmarshal([]byte(text), msg), line)
		c, err := wire.MessageCommand(s.index, k.kind, msg)
		require.NoError(s.t, err)
		e.Data = wire.AppendCommand(nil, c)
	}
	return e
}

func show(kv wire.KV) string {
	f := kv.Fields()
	return fmt.Sprintf("%s=%s create=%d mod=%d version=%d lease=%d", f.Key, f.Value, f.CreateRevision, f.ModRevision, f.Version, f.LeaseID)
}

func showTxn(b *strings.Builder, indent string, t *TxnResult) {
	fmt.Fprintf(b, "%ssucceeded=%v\n", indent, t.Succeeded)
	for _, op := range t.Ops {
		switch {
		case op.Range != nil:
			fmt.Fprintf(b, "%s range rev=%d count=%d more=%v\n", indent, op.Rev, op.Range.Count, op.Range.More)
			for _, kv := range op.Range.KVs {
				fmt.Fprintf(b, "%s  %s\n", indent, show(kv))
			}
		case op.Txn != nil:
			showTxn(b, indent+" ", op.Txn)
		case op.Delete:
			fmt.Fprintf(b, "%s delete rev=%d deleted=%d\n", indent, op.Rev, op.Deleted)
		default:
			fmt.Fprintf(b, "%s put rev=%d\n", indent, op.Rev)
		}
	}
}

func (s *script) effects(eff *Effects) string {
	var b strings.Builder
	for _, r := range eff.Results {
		fmt.Fprintf(&b, "#%d rev=%d", r.ID, r.Rev)
		if r.Err != nil {
			fmt.Fprintf(&b, " error: %v", r.Err)
		}
		if r.Deleted > 0 {
			fmt.Fprintf(&b, " deleted=%d", r.Deleted)
		}
		if r.Lease.ID != 0 {
			fmt.Fprintf(&b, " lease=%d ttl=%d", r.Lease.ID, r.Lease.TTL)
		}
		for _, a := range r.Alarms {
			fmt.Fprintf(&b, " alarm=%v/%v", a.Member, a.Type)
		}
		b.WriteByte('\n')
		if r.Txn != nil {
			showTxn(&b, " ", r.Txn)
		}
	}
	for _, c := range eff.Changes {
		what := "put"
		if c.Deleted() {
			what = "delete"
		}
		fmt.Fprintf(&b, "change %v %s %s", c.Rev, what, c.KV.Key())
		if c.Prev != "" {
			fmt.Fprintf(&b, " (before: %s)", show(c.Prev))
		}
		b.WriteByte('\n')
	}
	for _, l := range eff.Leases {
		fmt.Fprintf(&b, "lease %d ttl=%d remaining=%d %v\n", l.Lease.ID, l.Lease.TTL, l.Lease.RemainingSeconds, l.What)
	}
	for _, c := range eff.Conf {
		fmt.Fprintf(&b, "conf %v %x\n", c.GetType(), c.GetNodeId())
	}
	return b.String()
}

// TestTranscripts runs the scripts of testdata/scripts. `apply` gives its lines to the machine as one batch; each script ends with
// a check that the same entries in other batches and across restarts lead to the same bytes.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t, eng: mem.New()}
		s.open()
		var log []*raftpb.Entry
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "apply":
				var entries []*raftpb.Entry
				for line := range strings.Lines(d.Input) {
					entries = append(entries, s.entry(strings.TrimSpace(line)))
				}
				log = append(log, entries...)
				var eff Effects
				require.NoError(t, s.m.Apply(entries, &eff))
				return s.effects(&eff)
			case "restart":
				require.NoError(t, s.eng.Flush())
				s.open()
				v := s.m.View()
				return fmt.Sprintf("applied=%d term=%d rev=%d compacted=%d leases=%d\n", v.Applied, v.Term, v.KV.Rev(), v.KV.CompactRev(), v.Leases.Len())
			case "state":
				var b strings.Builder
				v := s.m.View()
				v.KV.Each(wire.Range{}, func(kv wire.KV) bool { fmt.Fprintln(&b, show(kv)); return true })
				for _, m := range v.Cluster.Members() {
					fmt.Fprintf(&b, "member %v %v %v learner=%v\n", m.ID, m.Name, m.PeerURLs, m.IsLearner)
				}
				for _, a := range v.Alarms {
					fmt.Fprintf(&b, "alarm %v %v\n", a.Member, a.Type)
				}
				return b.String()
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
		want := content(t, s.eng)
		for _, size := range []int{1, 2, 3, 7, len(log)} {
			require.Equal(t, want, content(t, replay(t, log, size)), "in batches of %d", size)
		}
	})
}

// replay applies a log in batches of a size, with a crash and an overlapping replay after each.
func replay(t *testing.T, log []*raftpb.Entry, size int) engine.Engine {
	eng := mem.New()
	for i := 0; i < len(log); i += size {
		m, err := Open(Config{MinLeaseTTLSeconds: 2}, eng)
		require.NoError(t, err)
		var eff Effects
		require.NoError(t, m.Apply(log[max(0, i-2):min(len(log), i+size)], &eff))
		require.NoError(t, eng.Flush())
		eng = eng.Crash()
	}
	return eng
}

func content(t *testing.T, eng engine.Engine) []string {
	var out []string
	for _, sp := range engine.Spaces {
		require.NoError(t, eng.Scan(sp, nil, nil, func(k, v []byte) bool {
			out = append(out, fmt.Sprintf("%v %q %q", sp.Bucket(), k, v))
			return true
		}))
	}
	sort.Strings(out)
	return out
}

func TestMemberIDs(t *testing.T) {
	id := cluster.MemberID([]string{"http://localhost:2380"}, "etcd-cluster", 0)
	require.Equal(t, "8e9e05c52164694d", id.String())
	require.Equal(t, "cdf818194e3a8c32", cluster.ClusterID([]cluster.Member{{ID: id}}).String())
	var three []cluster.Member
	for i, want := range []string{"938e7772cd2277e3", "a8541d93194c0035", "f0f43b40119c769e"} {
		id := cluster.MemberID([]string{fmt.Sprintf("http://10.0.0.%d:2380", i+1)}, "tkn", 0)
		require.Equal(t, want, id.String())
		three = append(three, cluster.Member{ID: id})
	}
	require.Equal(t, "b7d3aeee6f77f03c", cluster.ClusterID(three).String())
}
