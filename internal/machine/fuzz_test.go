package machine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
	"github.com/cairn-kv/cairn/test/fuzz"
)

// fuzzKinds are what the first byte of a step stands for. Behind the commands come steps that are none.
var fuzzKinds = []wire.Kind{
	wire.KindPut, wire.KindDeleteRange, wire.KindTxn, wire.KindCompaction, wire.KindLeaseGrant, wire.KindLeaseRevoke, wire.KindLeaseCheckpoint,
	wire.KindAlarm, wire.KindV2, wire.KindRange, wire.KindAuthEnable, wire.KindAuthDisable, wire.KindAuthenticate, wire.KindAuthStatus,
	wire.KindAuthUserAdd, wire.KindAuthUserDelete, wire.KindAuthUserGet, wire.KindAuthUserChangePassword, wire.KindAuthUserGrantRole,
	wire.KindAuthUserRevokeRole, wire.KindAuthUserList, wire.KindAuthRoleList, wire.KindAuthRoleAdd, wire.KindAuthRoleDelete, wire.KindAuthRoleGet,
	wire.KindAuthRoleGrantPermission, wire.KindAuthRoleRevokePermission, wire.KindClusterVersionSet, wire.KindMemberAttrSet,
	wire.KindDowngradeInfoSet, wire.KindDowngradeVersionTest, 7777,
}

const (
	stepConf  = 100 + iota // the body is a ConfChange
	stepRaw                // the body is the whole entry
	stepOther              // the body is an entry of another type
)

// fuzzUsers are what the second byte of a step stands for.
var fuzzUsers = []string{"", "root", "ann", "nobody"}

// steps writes inputs of FuzzApply.
type steps struct {
	tb testing.TB
	b  []byte
}

func (s *steps) add(kind, user byte, body []byte) {
	s.b = append(s.b, kind, user)
	s.b = binary.LittleEndian.AppendUint16(s.b, uint16(len(body)))
	s.b = append(s.b, body...)
}

func (s *steps) message(k wire.Kind, user byte, m proto.Message) {
	body, err := proto.Marshal(m)
	require.NoError(s.tb, err)
	for i, known := range fuzzKinds {
		if known == k {
			s.add(byte(i), user, body)
		}
	}
}

func (s *steps) v2(q wire.V2Request) { s.add(8, 0, q.Append(nil)) }

// fuzzSteps takes an input apart: at most 64 entries.
func fuzzSteps(b []byte, each func(kind, user byte, body []byte)) {
	for n := 0; len(b) >= 4 && n < 64; n++ {
		size := min(int(binary.LittleEndian.Uint16(b[2:])), len(b)-4)
		each(b[0], b[1], b[4:4+size])
		b = b[4+size:]
	}
}

func fuzzEntry(kind byte, user string, authRevision, index uint64, body []byte) *raftpb.Entry {
	e := &raftpb.Entry{Term: new(uint64(2)), Index: new(index), Type: raftpb.EntryNormal.Enum()}
	switch kind {
	case stepConf:
		e.Type, e.Data = raftpb.EntryConfChange.Enum(), body
	case stepRaw:
		e.Data = body
	case stepOther:
		e.Type, e.Data = raftpb.EntryConfChangeV2.Enum(), body
	default:
		k := fuzzKinds[int(kind)%len(fuzzKinds)]
		e.Data = wire.AppendCommand(nil, &wire.Command{ID: index, User: user, AuthRevision: authRevision, Kind: k, Body: body})
	}
	return e
}

// mostPerEntry bounds what one entry makes the machine allocate: the state it can refer to is small here.
const mostPerEntry = 4 << 20

// FuzzApply gives the machine any entries. It refuses what it does not understand; the same entries in other batches, with
// crashes in between, lead to the same bytes, before and after their compactions; and no entry takes much memory.
func FuzzApply(f *testing.F) {
	for _, s := range applySeeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		boot, err := cluster.BootstrapEntries([]cluster.Member{{ID: 7, PeerURLs: []string{"http://a:1"}, Name: "a"}})
		require.NoError(t, err)
		eng := mem.New()
		m, err := Open(Config{MinLeaseTTLSeconds: 2}, eng)
		require.NoError(t, err)
		log := boot
		require.NoError(t, m.Apply(boot, &Effects{}))
		fuzzSteps(b, func(kind, user byte, body []byte) {
			e := fuzzEntry(kind, fuzzUsers[int(user)%len(fuzzUsers)], m.View().Auth.Revision, uint64(len(log)+1), body)
			log = append(log, e)
			kept, eff := bytes.Clone(body), &Effects{}
			frugal := fuzz.Frugal(t, mostPerEntry)
			require.NoError(t, m.Apply([]*raftpb.Entry{e}, eff))
			frugal()
			require.Equal(t, kept, body, "the entry was written to")
			require.LessOrEqual(t, len(eff.Results), 1)
		})
		want := content(t, eng)
		for _, size := range []int{3, len(log)} {
			other := replay(t, log, size)
			require.Equal(t, want, content(t, other), "in batches of %d", size)
			o, err := Open(Config{MinLeaseTTLSeconds: 2}, other)
			require.NoError(t, err)
			require.Equal(t, visible(m), visible(o), "opened again")
			compactAll(t, o)
			if size == 3 {
				compactAll(t, m)
			}
			require.Equal(t, content(t, eng), content(t, other), "compacted")
		}
		_, err = mvcc.Verify(eng, func(fault error) { t.Error(fault) })
		require.NoError(t, err)
	})
}

// visible is what can be seen of a machine, as text.
func visible(m *Machine) string {
	var b bytes.Buffer
	v := m.View()
	fmt.Fprintln(&b, v.KV.Rev(), v.KV.CompactRev(), v.Alarms, v.StorageVersion, v.Downgrade, v.Mirror, v.Applied, v.Term, v.Tree.Index, v.Auth.Revision, v.Auth.Enabled)
	v.KV.Each(wire.Range{}, func(kv wire.KV) bool {
		fmt.Fprintln(&b, show(kv), v.Leases.Keys(kv.LeaseID()))
		return true
	})
	for _, m := range v.Cluster.Members() {
		fmt.Fprintln(&b, m)
	}
	return b.String()
}

func compactAll(t *testing.T, m *Machine) {
	for range 10_000 {
		if _, _, due := m.Compaction(); !due {
			return
		}
		_, _, err := m.CompactStep(7)
		require.NoError(t, err)
	}
	t.Fatal("the compaction does not end")
}

func applySeeds(tb testing.TB) (out [][]byte) {
	add := func(f func(*steps)) {
		s := &steps{tb: tb}
		f(s)
		out = append(out, s.b)
	}
	op := func(p *pb.PutRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}
	}
	add(func(s *steps) {
		s.message(wire.KindLeaseGrant, 0, &pb.LeaseGrantRequest{ID: 5, TTL: 60})
		s.message(wire.KindPut, 0, &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 5})
		s.message(wire.KindPut, 0, &pb.PutRequest{Key: []byte("m"), Value: []byte("v"), Lease: 5})
		s.message(wire.KindPut, 0, &pb.PutRequest{Key: []byte("k"), PrevKv: true, IgnoreValue: true})
		txn := &pb.TxnRequest{
			Compare: []*pb.Compare{{Key: []byte("k"), RangeEnd: []byte{0}, Result: pb.Compare_NOT_EQUAL, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 2}}},
			Success: []*pb.RequestOp{op(&pb.PutRequest{Key: []byte("l"), Value: []byte("w")}),
				{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 2, Limit: 1}}}},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), RangeEnd: []byte("z"), PrevKv: true}}}}}}}}}
		s.message(wire.KindTxn, 0, txn)
		s.message(wire.KindLeaseCheckpoint, 0, &pb.LeaseCheckpointRequest{Checkpoints: []*pb.LeaseCheckpoint{{ID: 5, Remaining_TTL: 30}}})
		s.message(wire.KindCompaction, 0, &pb.CompactionRequest{Revision: 3})
		s.message(wire.KindLeaseRevoke, 0, &pb.LeaseRevokeRequest{ID: 5})
		s.message(wire.KindCompaction, 0, &pb.CompactionRequest{Revision: 4})
		txn.Compare[0].Result = pb.Compare_EQUAL
		s.message(wire.KindTxn, 0, txn)
		s.message(wire.KindCompaction, 0, &pb.CompactionRequest{Revision: 7})
	})
	add(func(s *steps) {
		for _, u := range []string{"root", "ann"} {
			s.message(wire.KindAuthUserAdd, 0, &pb.AuthUserAddRequest{Name: u, HashedPassword: "aGFzaA==", Options: &authpb.UserAddOptions{}})
		}
		s.message(wire.KindAuthRoleAdd, 0, &pb.AuthRoleAddRequest{Name: "root"})
		s.message(wire.KindAuthRoleAdd, 0, &pb.AuthRoleAddRequest{Name: "r"})
		s.message(wire.KindAuthRoleGrantPermission, 0, &pb.AuthRoleGrantPermissionRequest{Name: "r",
			Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: []byte("a"), RangeEnd: []byte("c")}})
		s.message(wire.KindAuthUserGrantRole, 0, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
		s.message(wire.KindAuthUserGrantRole, 0, &pb.AuthUserGrantRoleRequest{User: "ann", Role: "r"})
		s.message(wire.KindAuthEnable, 0, &pb.AuthEnableRequest{})
		s.message(wire.KindAuthenticate, 0, &pb.InternalAuthenticateRequest{Name: "ann", Password: "p", SimpleToken: "abc"})
		s.message(wire.KindPut, 2, &pb.PutRequest{Key: []byte("b"), Value: []byte("v")})
		s.message(wire.KindPut, 2, &pb.PutRequest{Key: []byte("c"), Value: []byte("v")})
		s.message(wire.KindAuthRoleRevokePermission, 1, &pb.AuthRoleRevokePermissionRequest{Role: "r", Key: []byte("a"), RangeEnd: []byte("c")})
		s.message(wire.KindAuthUserDelete, 1, &pb.AuthUserDeleteRequest{Name: "ann"})
		s.message(wire.KindAuthDisable, 1, &pb.AuthDisableRequest{})
	})
	add(func(s *steps) {
		s.v2(wire.V2Request{Method: wire.V2Put, Path: "/1/a/b", Val: "1"})
		s.v2(wire.V2Request{Method: wire.V2Post, Path: "/1/q", Val: "2", Expiration: 2_000_000_000_000_000_000})
		s.v2(wire.V2Request{Method: wire.V2Put, Path: "/1/d", Dir: true})
		s.v2(wire.V2Request{Method: wire.V2Put, Path: "/1/a/b", Val: "3", PrevValue: "1"})
		s.v2(wire.V2Request{Method: wire.V2Delete, Path: "/1/a", Dir: true, Recursive: true})
		s.v2(wire.V2Request{Method: wire.V2Sync, Time: 2_100_000_000_000_000_000})
	})
	add(func(s *steps) {
		for _, name := range []string{"/m", "", "/m"} {
			s.v2(wire.V2Request{Method: wire.V2Put, Path: MirrorRecord, Val: name})
			s.v2(wire.V2Request{Method: wire.V2Put, Path: "/1/a", Val: "1"})
		}
	})
	add(func(s *steps) {
		rule := &limits.Rule{Target: limits.Target{Kind: limits.Prefix, Name: []byte("a")}, MaxKeys: 1}
		s.v2(wire.V2Request{Method: wire.V2Put, Path: LimitsRecord, Val: string(rule.Append(nil))})
		s.message(wire.KindPut, 0, &pb.PutRequest{Key: []byte("a1"), Value: []byte("v")})
		s.message(wire.KindPut, 0, &pb.PutRequest{Key: []byte("a2"), Value: []byte("v")})
	})
	add(func(s *steps) {
		s.message(wire.KindClusterVersionSet, 0, &membershippb.ClusterVersionSetRequest{Ver: "3.5.0"})
		s.message(wire.KindMemberAttrSet, 0, &membershippb.ClusterMemberAttrSetRequest{Member_ID: 7, MemberAttributes: &membershippb.Attributes{Name: "n", ClientUrls: []string{"http://c:1"}}})
		s.message(wire.KindDowngradeInfoSet, 0, &membershippb.DowngradeInfoSetRequest{Enabled: true, Ver: "3.6.0"})
		s.message(wire.KindAlarm, 0, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 7, Alarm: pb.AlarmType_NOSPACE})
		s.message(wire.KindPut, 0, &pb.PutRequest{Key: []byte("a1")})
		for _, k := range []raftpb.ConfChangeType{raftpb.ConfChangeAddLearnerNode, raftpb.ConfChangeAddNode, raftpb.ConfChangeUpdateNode, raftpb.ConfChangeRemoveNode} {
			cc, err := proto.Marshal(&raftpb.ConfChange{Type: k.Enum(), NodeId: new(uint64(8)), Context: []byte(`{"id":8,"peerURLs":["http://b:2"]}`)})
			require.NoError(tb, err)
			s.add(stepConf, 0, cc)
		}
		s.add(stepRaw, 0, nil)
		s.add(stepOther, 0, []byte{1})
	})
	return out
}
