package files

import (
	"bytes"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/bench/process"
)

// peer is what package process lets servers say of themselves.
const peer = "http://127.0.0.1:2380"

// restored is a folder with the data directory that etcd's tool makes of a snapshot.
func restored(t *testing.T, file string) (dir string) {
	t.Helper()
	t.Setenv("ETCD_VERIFY", "all") // so that the tool looks at what it made
	dir = t.TempDir()
	err := snapshot.NewV3(zap.NewNop()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, Name: "default", OutputDataDir: filepath.Join(dir, "data"), PeerURLs: []string{peer},
		InitialCluster: "default=" + peer, InitialClusterToken: "etcd-cluster",
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEtcdGoesOnFromASnapshot: etcd's tool restores what `snapshot save` gave, and an etcd started on it has all keys with
// their revisions and history, and all leases. It passes over limits, which it does not know.
func TestEtcdGoesOnFromASnapshot(t *testing.T) {
	s, cairn := start(t, cairnProgram, t.TempDir())
	fill(t, cairn)
	ctl(t, s, "limit", "set", "--prefix", "key/", "--max-keys", "1000000")
	file := filepath.Join(t.TempDir(), "backup.db")
	ctl(t, s, "snapshot", "save", file)
	dir := restored(t, file)
	_, etcd := start(t, etcdProgram, dir)
	compareKeys(t, cairn, etcd)
	compareLeases(t, cairn, etcd)
	// Both go on from the same revision.
	for _, c := range []*grpc.ClientConn{cairn, etcd} {
		if _, err := pb.NewKVClient(c).Put(t.Context(), &pb.PutRequest{Key: []byte("key/000"), Value: []byte("after")}); err != nil {
			t.Fatal(err)
		}
	}
	compareKeys(t, cairn, etcd)
}

func compareKeys(t *testing.T, cairn, etcd *grpc.ClientConn) {
	t.Helper()
	now, err := pb.NewKVClient(cairn).Range(t.Context(), &pb.RangeRequest{Key: []byte("none")})
	if err != nil {
		t.Fatal(err)
	}
	for _, rev := range []int64{0, 1, 299, 300, 301, 350, 450, 600, now.Header.Revision, now.Header.Revision + 1} {
		var got [2]string
		for i, c := range []*grpc.ClientConn{cairn, etcd} {
			r, err := pb.NewKVClient(c).Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
			if err == nil {
				if rev == 0 && r.Header.Revision != now.Header.Revision || r.Count == 0 {
					t.Errorf("%d keys at revision %d", r.Count, r.Header.Revision)
				}
				r.Header = nil
			}
			got[i] = fmt.Sprint(r, err)
		}
		if got[0] != got[1] {
			t.Errorf("revision %d\ncairn: %.2000s\netcd:  %.2000s", rev, got[0], got[1])
		}
	}
	var hashes [2]*pb.HashKVResponse
	for i, c := range []*grpc.ClientConn{cairn, etcd} {
		if hashes[i], err = pb.NewMaintenanceClient(c).HashKV(t.Context(), &pb.HashKVRequest{Revision: now.Header.Revision}); err != nil {
			t.Fatal(err)
		}
		hashes[i].Header = nil
	}
	if !proto.Equal(hashes[0], hashes[1]) {
		t.Errorf("hashes\ncairn: %v\netcd:  %v", hashes[0], hashes[1])
	}
}

func compareLeases(t *testing.T, cairn, etcd *grpc.ClientConn) {
	t.Helper()
	for id := int64(1); id <= 5; id++ {
		var got [2]*pb.LeaseTimeToLiveResponse
		for i, c := range []*grpc.ClientConn{cairn, etcd} {
			r, err := pb.NewLeaseClient(c).LeaseTimeToLive(t.Context(), &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(r.Keys, bytes.Compare) // neither promises an order
			r.Header = nil
			got[i] = r
		}
		if d := got[0].TTL - got[1].TTL; -10 <= d && d <= 10 { // etcd's time starts when it does
			got[0].TTL = got[1].TTL
		}
		if !proto.Equal(got[0], got[1]) {
			t.Errorf("lease %d\ncairn: %v\netcd:  %v", id, got[0], got[1])
		}
	}
}

// mayDiffer are keys of the database that two members of one history need not have the same, each with its reason.
var mayDiffer = map[string]string{
	"meta/consistent_index": "the log of each has entries of its own, such as those of its start",
	"meta/term":             "each had its elections",
	"meta/confState":        "etcd writes it from time to time",
}

// TestSnapshotIsLikeEtcds: after the same requests the databases have the same content, and etcd's tool says the same of
// them. Its hash is over everything, so it can only be the same if nothing differs.
func TestSnapshotIsLikeEtcds(t *testing.T) {
	var content [2]map[string]string
	var state [2]snapshot.Status
	for i, p := range []process.Program{etcdProgram, cairnProgram} {
		s, c := start(t, p, t.TempDir())
		fill(t, c)
		awaitVersion(t, c)
		file := filepath.Join(t.TempDir(), "backup.db")
		ctl(t, s, "snapshot", "save", file)
		var err error
		if state[i], err = snapshot.NewV3(zap.NewNop()).Status(file); err != nil {
			t.Fatalf("%s: %v", p.Kind, err)
		}
		content[i] = dump(t, file)
	}
	etcd, cairn := content[0], content[1]
	same := true
	for k := range maps.Keys(merged(etcd, cairn)) {
		a, inEtcd := etcd[k]
		b, inCairn := cairn[k]
		if a == b && inEtcd == inCairn {
			continue
		}
		same = false
		if reason, ok := mayDiffer[k]; ok {
			t.Logf("%s: %q in etcd's, %q in cairn's: %s", k, a, b, reason)
			continue
		}
		t.Errorf("%q\netcd:  %q (%v)\ncairn: %q (%v)", k, a, inEtcd, b, inCairn)
	}
	t.Logf("etcd: %+v, cairn: %+v", state[0], state[1])
	a, b := state[0], state[1]
	if a.Revision != b.Revision || a.TotalKey != b.TotalKey || a.Version != b.Version {
		t.Errorf("status\netcd:  %+v\ncairn: %+v", a, b)
	}
	if same && a.Hash != b.Hash {
		t.Errorf("hash: etcd %d, cairn %d, with the same content", a.Hash, b.Hash)
	}
}

// awaitVersion waits until the server has written its storage version, which it does some time after its start.
func awaitVersion(t *testing.T, c *grpc.ClientConn) {
	t.Helper()
	for range 200 {
		r, err := pb.NewMaintenanceClient(c).Status(t.Context(), &pb.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if r.StorageVersion != "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("no storage version")
}

func merged(ms ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range ms {
		maps.Copy(all, m)
	}
	return all
}

// dump is every bucket and key of a database.
func dump(t *testing.T, file string) map[string]string {
	t.Helper()
	db, err := bolt.Open(file, 0o400, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]string{}
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			all[string(name)] = "a bucket"
			return b.ForEach(func(k, v []byte) error {
				all[string(name)+"/"+string(k)] = string(v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEtcdGoesOnWithUsers: users, roles and that authentication is on are restored too.
func TestEtcdGoesOnWithUsers(t *testing.T) {
	s, cairn := start(t, cairnProgram, t.TempDir())
	ctx := t.Context()
	auth := pb.NewAuthClient(cairn)
	_, err := auth.UserAdd(ctx, &pb.AuthUserAddRequest{Name: "root", Password: "secret", Options: &authpb.UserAddOptions{}})
	if status.Code(err) == codes.Unimplemented {
		t.Skipf("cairn has no users yet, so none can be restored: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{
		func() error {
			_, err := auth.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: "root"})
			return err
		},
		func() error {
			_, err := auth.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"})
			return err
		},
		func() error { _, err := auth.AuthEnable(ctx, &pb.AuthEnableRequest{}); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "backup.db")
	ctl(t, s, "--user", "root:secret", "snapshot", "save", file)
	_, etcd := start(t, etcdProgram, restored(t, file))
	get := &pb.RangeRequest{Key: []byte("k")}
	if _, err := pb.NewKVClient(etcd).Range(ctx, get); err == nil {
		t.Error("etcd answers without authentication")
	}
	r, err := pb.NewAuthClient(etcd).Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pb.NewKVClient(etcd).Range(metadata.AppendToOutgoingContext(ctx, "token", r.Token), get); err != nil {
		t.Error(err)
	}
}
