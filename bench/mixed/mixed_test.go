package mixed

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cairn-kv/cairn/bench/process"
	"github.com/cairn-kv/cairn/test/certs"
)

var etcdProgram, oldEtcdProgram, cairnProgram process.Program

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mixed-bin-")
	if err == nil {
		etcdProgram, cairnProgram, err = process.Build(dir)
	}
	if err == nil {
		oldEtcdProgram, err = process.BuildOldEtcd(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

const patience = 30 * time.Second

// mix is a cluster of members of both kinds.
type mix struct {
	t       *testing.T
	members []*process.Server
	conns   []*grpc.ClientConn
	ids     []uint64
}

// start starts one member for each program. Few entries are kept, so that who is behind is sent a snapshot.
func start(t *testing.T, programs ...process.Program) *mix {
	t.Helper()
	return begin(t, nil, programs...)
}

// begin is start for members that have flags for TLS between them, if there are any.
func begin(t *testing.T, secure []string, programs ...process.Program) *mix {
	t.Helper()
	members, err := process.NewCluster(etcdProgram, t.TempDir(), len(programs), "--snapshot-catchup-entries", "50", "--snapshot-count", "100")
	check(t, err)
	if secure != nil {
		process.Secure(members, secure...)
	}
	x := &mix{t: t, members: members}
	for i, m := range members {
		m.Program = programs[i]
		if programs[i].Kind == process.Cairn {
			m.Args = append(slices.Clone(m.Args), "--enable-v2")
		}
		check(t, m.Spawn())
		t.Cleanup(func() { _ = m.Kill() })
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, m := range members {
		check(t, m.WaitReady(ctx))
		c, err := m.Dial()
		check(t, err)
		t.Cleanup(func() { _ = c.Close() })
		x.conns = append(x.conns, c)
		s, err := pb.NewMaintenanceClient(c).Status(ctx, &pb.StatusRequest{})
		check(t, err)
		x.ids = append(x.ids, s.Header.MemberId)
	}
	return x
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (x *mix) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	x.t.Cleanup(cancel)
	return ctx
}

// lead moves leadership to a member.
func (x *mix) lead(to int) {
	x.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		s, err := pb.NewMaintenanceClient(x.conns[to]).Status(x.ctx(), &pb.StatusRequest{})
		check(x.t, err)
		if s.Leader == x.ids[to] {
			return
		}
		for i, id := range x.ids {
			if id == s.Leader {
				_, err = pb.NewMaintenanceClient(x.conns[i]).MoveLeader(x.ctx(), &pb.MoveLeaderRequest{TargetID: x.ids[to]})
			}
		}
		if time.Now().After(deadline) {
			x.t.Fatalf("member %d does not come to lead: %v", to, err)
		}
	}
}

// write sends random changes to random members of those that run.
func (x *mix) write(r *rand.Rand, n int, up ...int) {
	x.t.Helper()
	for i := range n {
		kv := pb.NewKVClient(x.conns[up[r.IntN(len(up))]])
		key := func() []byte { return fmt.Appendf(nil, "k%03d", r.IntN(300)) }
		put := func() *pb.RequestOp {
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key(), Value: fmt.Appendf(nil, "%d", i)}}}
		}
		var err error
		switch r.IntN(10) {
		case 0:
			k := key()
			_, err = kv.DeleteRange(x.ctx(), &pb.DeleteRangeRequest{Key: k, RangeEnd: append(k[:len(k)-1:len(k)-1], k[len(k)-1]+2)})
		case 1, 2:
			k := key()
			_, err = kv.Txn(x.ctx(), &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: k, Target: pb.Compare_VERSION, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Version{Version: 1}}},
				Success: []*pb.RequestOp{put(), {Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("x")}}}},
				Failure: []*pb.RequestOp{put()}})
		case 3:
			if r.IntN(20) == 0 {
				var resp *pb.PutResponse
				if resp, err = kv.Put(x.ctx(), &pb.PutRequest{Key: key()}); err == nil {
					_, err = kv.Compact(x.ctx(), &pb.CompactionRequest{Revision: resp.Header.Revision - int64(r.IntN(50))})
				}
				if status.Code(err) == codes.OutOfRange {
					err = nil // that was compacted already
				}
				break
			}
			fallthrough
		default:
			_, err = kv.Put(x.ctx(), &pb.PutRequest{Key: key(), Value: fmt.Appendf(nil, "v%d", i)})
		}
		check(x.t, err)
	}
}

// agree waits until all have applied the same and compares what they hold, at every revision that is left of the last ones.
func (x *mix) agree() {
	x.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		same := true
		var first *pb.StatusResponse
		for _, c := range x.conns {
			s, err := pb.NewMaintenanceClient(c).Status(x.ctx(), &pb.StatusRequest{})
			check(x.t, err)
			if first == nil {
				first = s
			}
			same = same && s.RaftAppliedIndex == first.RaftAppliedIndex && s.Header.Revision == first.Header.Revision
		}
		if same {
			for rev := max(1, first.Header.Revision-40); rev <= first.Header.Revision; rev += 10 {
				x.compare(rev)
			}
			return
		}
		if time.Now().After(deadline) {
			x.t.Fatal("the members do not come to the same index")
		}
	}
}

func (x *mix) compare(rev int64) {
	x.t.Helper()
	var hash *pb.HashKVResponse
	for i, c := range x.conns {
		h, err := pb.NewMaintenanceClient(c).HashKV(x.ctx(), &pb.HashKVRequest{Revision: rev})
		if err != nil {
			return // compacted
		}
		if hash == nil {
			hash = h
		} else if h.CompactRevision == hash.CompactRevision && h.Hash != hash.Hash {
			x.t.Fatalf("at revision %d member %d (%s) has hash %d, member 0 %d", rev, i, x.members[i].Program.Kind, h.Hash, hash.Hash)
		}
	}
}

// fallBehind ends a member, goes on without it until it needs a snapshot, and starts it again.
func (x *mix) fallBehind(r *rand.Rand, who int) {
	x.t.Helper()
	check(x.t, x.members[who].Kill())
	var up []int
	for i := range x.members {
		if i != who {
			up = append(up, i)
		}
	}
	x.write(r, 1500, up...)
	check(x.t, x.members[who].Start(x.ctx()))
	x.agree()
}

func TestMixedClusters(t *testing.T) {
	for name, programs := range map[string][]process.Program{
		"one cairn among etcds": {cairnProgram, etcdProgram, etcdProgram},
		"one etcd among cairns": {etcdProgram, cairnProgram, cairnProgram},
		"three programs":        {cairnProgram, oldEtcdProgram, etcdProgram},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			// They talk over TLS where there are two etcds, with names that are allowed and addresses that are checked.
			var secure []string
			if name != "one etcd among cairns" {
				ca := certs.NewCA(t, "members")
				p := ca.Issue(t, "member", []string{"127.0.0.1"})
				crl := filepath.Join(t.TempDir(), "crl.der")
				ca.Revoke(t, crl)
				secure = []string{"--peer-cert-file", p.Cert, "--peer-key-file", p.Key, "--peer-trusted-ca-file", ca.File, "--peer-client-cert-auth",
					"--peer-crl-file", crl, "--peer-cert-allowed-cn", "member"}
			}
			x := begin(t, secure, programs...)
			for lead := range x.members {
				x.lead(lead)
				x.write(r, 300, 0, 1, 2)
				x.agree()
				x.leases(lead)
			}
			// The odd one sends a snapshot, and is sent one.
			x.lead(0)
			x.fallBehind(r, 1)
			x.lead(1)
			x.fallBehind(r, 0)
			x.write(r, 300, 0, 1, 2)
			x.agree()
		})
	}
}

// leases: each member grants one, and the others renew and show it.
func (x *mix) leases(lead int) {
	x.t.Helper()
	for i, c := range x.conns {
		g, err := pb.NewLeaseClient(c).LeaseGrant(x.ctx(), &pb.LeaseGrantRequest{TTL: 100})
		check(x.t, err)
		_, err = pb.NewKVClient(c).Put(x.ctx(), &pb.PutRequest{Key: []byte("leased"), Lease: g.ID})
		check(x.t, err)
		for j, other := range x.conns {
			ka, err := pb.NewLeaseClient(other).LeaseKeepAlive(x.ctx())
			check(x.t, err)
			check(x.t, ka.Send(&pb.LeaseKeepAliveRequest{ID: g.ID}))
			k, err := ka.Recv()
			check(x.t, err)
			ttl, err := pb.NewLeaseClient(other).LeaseTimeToLive(x.ctx(), &pb.LeaseTimeToLiveRequest{ID: g.ID, Keys: true})
			check(x.t, err)
			if k.TTL != 100 || ttl.TTL < 90 || len(ttl.Keys) != 1 {
				x.t.Fatalf("leader %d: lease of member %d on member %d: renewed to %d, %v", lead, i, j, k.TTL, ttl)
			}
		}
		_, err = pb.NewLeaseClient(x.conns[(i+1)%len(x.conns)]).LeaseRevoke(x.ctx(), &pb.LeaseRevokeRequest{ID: g.ID})
		check(x.t, err)
	}
}

// TestV2WritesSpareEtcd: an entry of the v2 API would end an etcd that does not know it. A cairn beside one refuses to make
// any, until it is gone.
func TestV2WritesSpareEtcd(t *testing.T) {
	x := start(t, cairnProgram, etcdProgram, cairnProgram)
	put := func(to int) (status int, body string) {
		q, err := http.NewRequestWithContext(x.ctx(), http.MethodPut, "http://"+x.members[to].Addr+"/v2/keys/k?value=v", nil)
		check(t, err)
		resp, err := http.DefaultClient.Do(q)
		check(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		check(t, err)
		return resp.StatusCode, string(b)
	}
	for _, i := range []int{0, 2} {
		code, body := put(i)
		if code != http.StatusInternalServerError || !strings.Contains(body, "etcd without the v2 API") {
			t.Fatalf("member %d answers a v2 write with %d %s", i, code, body)
		}
	}
	x.write(rand.New(rand.NewPCG(1, 1)), 50, 0, 1, 2)
	x.agree()
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		_, err := pb.NewClusterClient(x.conns[0]).MemberRemove(x.ctx(), &pb.MemberRemoveRequest{ID: x.ids[1]})
		if err == nil {
			break
		}
		if time.Now().After(deadline) { // members have to be connected for a while
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		code, body := put(2)
		if code == http.StatusCreated {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("with the etcd gone: %d %s", code, body)
		}
	}
}

// TestQuotasSpareEtcd: an etcd would put what a quota refuses. A cairn beside one sets none, and etcd's members go on.
func TestQuotasSpareEtcd(t *testing.T) {
	for name, program := range map[string]process.Program{"old": oldEtcdProgram, "new": etcdProgram} {
		t.Run(name, func(t *testing.T) {
			x := start(t, cairnProgram, program, cairnProgram)
			set := func(to int) error {
				rule, err := structpb.NewStruct(map[string]any{"kind": "prefix", "name": "", "maxKeys": 1})
				check(t, err)
				return x.conns[to].Invoke(x.ctx(), "/cairn.Limits/Set", rule, new(emptypb.Empty))
			}
			for _, i := range []int{0, 2} {
				// Until the etcd has connected it is only not known what it is.
				err := set(i)
				for deadline := time.Now().Add(patience); err != nil && strings.Contains(err.Error(), "has not connected yet") && time.Now().Before(deadline); err = set(i) {
					time.Sleep(50 * time.Millisecond)
				}
				if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "is an etcd, which does not know limits") {
					t.Fatalf("member %d sets a quota beside an etcd: %v", i, err)
				}
			}
			x.write(rand.New(rand.NewPCG(1, 1)), 50, 0, 1, 2)
			x.agree()
		})
	}
}
