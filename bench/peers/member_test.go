package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/peer"
	"github.com/cairn-kv/cairn/internal/wire"
)

// startEtcd runs a whole etcd in this process.
func startEtcd(t *testing.T) *embed.Etcd {
	free := func() url.URL {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return url.URL{Scheme: "http", Host: l.Addr().String()}
	}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = t.TempDir(), "error", []string{"/dev/null"}
	cfg.ListenPeerUrls, cfg.ListenClientUrls = []url.URL{free()}, []url.URL{free()}
	cfg.AdvertisePeerUrls, cfg.AdvertiseClientUrls = cfg.ListenPeerUrls, cfg.ListenClientUrls
	cfg.InitialCluster, cfg.StrictReconfigCheck = cfg.InitialClusterFromName(cfg.Name), false
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	<-e.Server.ReadyNotify()
	return e
}

// TestAsking asks a whole etcd everything that there is to ask.
func TestAsking(t *testing.T) {
	e := startEtcd(t)
	u := e.Config().ListenPeerUrls[0].String()
	ctx := context.Background()
	c := peer.NewClient(nil, 5*time.Second)
	defer c.Close()
	id, members, err := c.Members(ctx, u)
	if err != nil || uint64(id) != uint64(e.Server.Cluster().ID()) || len(members) != 1 || members[0].Name != "default" || members[0].PeerURLs[0] != u {
		t.Fatal(id, members, err)
	}
	eventually(t, "a version", func() bool {
		server, agreed, err := c.Version(ctx, u)
		return err == nil && server == "3.7.3" && agreed == "3.7.0"
	})
	if _, err := c.Promote(ctx, u, members[0].ID); err != wire.ErrMemberNotLearner {
		t.Fatal(err)
	}
	if _, err := c.Promote(peer.WithToken(ctx, "tok"), u, 99); err != wire.ErrMemberNotFound {
		t.Fatal(err)
	}
	if _, err := e.Server.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 5, TTL: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Server.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), Lease: 5}); err != nil {
		t.Fatal(err)
	}
	if ttl, err := c.Renew(ctx, u, 5); err != nil || ttl != 100 {
		t.Fatal(ttl, err)
	}
	if ttl, err := c.Renew(ctx, u, 6); err != nil || ttl != 0 {
		t.Fatal(ttl, err)
	}
	if left, err := c.TimeToLive(ctx, u, 5, true); err != nil || left.GrantedTTL != 100 || len(left.Keys) != 1 {
		t.Fatal(left, err)
	}
	if _, err := c.TimeToLive(ctx, u, 6, true); err != wire.ErrLeaseNotFound {
		t.Fatal(err)
	}
	if h, err := c.HashKV(ctx, u, id, 0); err != nil || h.Hash == 0 || h.HashRevision != 2 {
		t.Fatal(h, err)
	}
	if _, err := c.HashKV(ctx, u, id, 99); err != wire.ErrFutureRev {
		t.Fatal(err)
	}
	if _, err := c.HashKV(ctx, u, 1, 0); err != wire.ErrClusterIDMismatch {
		t.Fatal(err)
	}
	if on, err := c.DowngradeEnabled(ctx, u); err != nil || on {
		t.Fatal(on, err)
	}
}

// follower is raft itself on cairn's transport: the smallest member there can be.
type follower struct {
	cairnMember
	steps chan *raftpb.Message
}

func (f *follower) Process(ctx context.Context, m *raftpb.Message) error {
	select {
	case f.steps <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) ProcessSnapshot(context.Context, *raftpb.Message, io.Reader) error {
	return errors.New("not expected")
}

// run drives raft until the context ends. Committed commands are told to applied.
func (f *follower) run(ctx context.Context, tr *peer.Transport, applied func([]byte)) error {
	store := raft.NewMemoryStorage()
	node, err := raft.NewRawNode(&raft.Config{ID: uint64(f.id), ElectionTick: 10, HeartbeatTick: 1, Storage: store, MaxSizePerMsg: 1 << 20,
		MaxInflightMsgs: 512, CheckQuorum: true, PreVote: true, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}})
	if err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			node.Tick()
		case m := <-f.steps:
			_ = node.Step(m)
		}
		for node.HasReady() {
			rd := node.Ready()
			if !raft.IsEmptyHardState(rd.HardState) {
				_ = store.SetHardState(rd.HardState)
			}
			if err := store.Append(rd.Entries); err != nil {
				return err
			}
			tr.Send(rd.Messages)
			for _, e := range rd.CommittedEntries {
				if e.GetType() != raftpb.EntryConfChange {
					applied(e.Data)
					continue
				}
				var cc raftpb.ConfChange
				if err := proto.Unmarshal(e.Data, &cc); err != nil {
					return err
				}
				node.ApplyConfChange(&cc)
			}
			node.Advance(rd)
		}
	}
}

// TestMember adds a member on cairn's transport to a whole etcd, first as a learner and then as a voter without which
// nothing is committed.
func TestMember(t *testing.T) {
	e := startEtcd(t)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	f := &follower{steps: make(chan *raftpb.Message, 1000)}
	own, set := listen(t)
	put := func(n int) {
		t.Helper()
		for i := range n {
			value := bytes.Repeat([]byte{'v'}, i*100)
			if _, err := e.Server.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "k%d", i), Value: value}); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(20) // from before it was a member
	now := time.Now()
	added := membership.NewMemberAsLearner("", types.MustNewURLs([]string{own}), "", &now)
	if _, err := e.Server.AddMember(ctx, *added); err != nil {
		t.Fatal(err)
	}
	commands := make(chan []byte, 10000)
	done := make(chan error, 1)
	f.id = cluster.ID(added.ID)
	tr := peer.New(peer.Config{ID: f.id, ClusterID: cluster.ID(e.Server.Cluster().ID()), PeerURLs: []string{own}, Version: "3.7.3",
		MinClusterVersion: "3.0.0", Raft: f, Member: f})
	defer tr.Stop()
	set(tr.Handler())
	tr.SetPeers([]cluster.Member{{ID: cluster.ID(e.Server.MemberID()), PeerURLs: []string{e.Config().ListenPeerUrls[0].String()}}})
	go func() { done <- f.run(ctx, tr, func(b []byte) { commands <- b }) }()
	put(20)
	eventually(t, "a learner that has caught up", func() bool {
		_, err := e.Server.PromoteMember(ctx, uint64(f.id))
		return err == nil
	})
	put(20) // with its acknowledgement
	puts := 0
	for puts < 60 {
		select {
		case b := <-commands:
			if len(b) == 0 {
				continue
			}
			c, err := wire.ParseCommand(b)
			if err != nil {
				t.Fatal(err)
			}
			if c.Kind == wire.KindPut {
				puts++
			}
		case err := <-done:
			t.Fatalf("raft has ended: %v", err)
		case <-ctx.Done():
			t.Fatalf("only %d of 60 commands", puts)
		}
	}
	if _, err := e.Server.RemoveMember(ctx, uint64(f.id)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is told", func() bool { return f.look(func() bool { return len(f.expelled) == 1 }) })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
