package files

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/cairn-kv/cairn/bench/process"
)

var etcdProgram, cairnProgram process.Program

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "files-bin-")
	if err == nil {
		etcdProgram, cairnProgram, err = process.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// start runs a server on the folder, which may hold data already, until the test ends.
func start(t *testing.T, p process.Program, dir string) (*process.Server, *grpc.ClientConn) {
	t.Helper()
	s, err := process.New(p, dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := s.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s, c
}

// sent are requests in the order in which a server got them, one at a time.
type sent []*pb.InternalRaftRequest

// fill gives a server some history: keys that were changed, removed and made again, leases, a compaction.
func fill(t *testing.T, c *grpc.ClientConn) (log sent) {
	t.Helper()
	ctx := t.Context()
	kv, leases := pb.NewKVClient(c), pb.NewLeaseClient(c)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(p *pb.PutRequest) {
		t.Helper()
		must(kv.Put(ctx, p))
		log = append(log, &pb.InternalRaftRequest{Put: p})
	}
	for id := int64(1); id <= 4; id++ {
		g := &pb.LeaseGrantRequest{ID: id, TTL: 1000 * id}
		must(leases.LeaseGrant(ctx, g))
		log = append(log, &pb.InternalRaftRequest{LeaseGrant: g})
	}
	for i := range 600 {
		put(&pb.PutRequest{Key: fmt.Appendf(nil, "key/%03d", i%250), Value: fmt.Appendf(nil, "value %d", i), Lease: int64(i % 4)})
		switch {
		case i%50 == 9:
			d := &pb.DeleteRangeRequest{Key: fmt.Appendf(nil, "key/%03d", i%250-5), RangeEnd: fmt.Appendf(nil, "key/%03d", i%250-2)}
			must(kv.DeleteRange(ctx, d))
			log = append(log, &pb.InternalRaftRequest{DeleteRange: d})
		case i%50 == 19:
			x := &pb.TxnRequest{
				Compare: []*pb.Compare{{Key: []byte("key/001"), Result: pb.Compare_GREATER, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{}}},
				Success: []*pb.RequestOp{
					{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: fmt.Appendf(nil, "key/%03d", i%250)}}},
					{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: fmt.Appendf(nil, "txn/%d", i), Value: []byte{0, 255}}}},
				},
			}
			must(kv.Txn(ctx, x))
			log = append(log, &pb.InternalRaftRequest{Txn: x})
		case i == 400:
			q := &pb.CompactionRequest{Revision: 300, Physical: true}
			must(kv.Compact(ctx, q))
			log = append(log, &pb.InternalRaftRequest{Compaction: q})
		case i == 500:
			r := &pb.LeaseRevokeRequest{ID: 4}
			must(leases.LeaseRevoke(ctx, r))
			log = append(log, &pb.InternalRaftRequest{LeaseRevoke: r})
		}
	}
	return log
}

// ctl runs cairn's command line against a server.
func ctl(t *testing.T, s *process.Server, args ...string) {
	t.Helper()
	args = append([]string{"ctl", "--endpoints", s.Addr}, args...)
	if out, err := exec.CommandContext(t.Context(), cairnProgram.Path, args...).CombinedOutput(); err != nil {
		t.Fatalf("cairn %q: %v\n%s", args, err, out)
	}
}

// copied is a copy of the server's data in a folder that a server can be started on.
func copied(t *testing.T, s *process.Server) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(s.DataDir())); err != nil {
		t.Fatal(err)
	}
	return dir
}
