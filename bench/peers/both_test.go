package peers

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/lease/leasehttp"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// pair joins a member of cairn, 1, and one of etcd, 2, and waits until all four streams are open.
func pair(t *testing.T) (*cairnMember, *etcdMember) {
	c, e := newCairnMember(t, 1), newEtcdMember(t, 2, nil)
	join(t, c, e)
	return c, e
}

func join(t *testing.T, c *cairnMember, e *etcdMember) {
	c.t.SetPeers([]cluster.Member{{ID: 1, PeerURLs: []string{c.url}}, {ID: 2, PeerURLs: []string{e.url}}})
	e.t.AddPeer(1, []string{c.url})
	eventually(t, "active", func() bool {
		_, ok := c.t.ActiveSince(2)
		return ok && !e.t.ActiveSince(1).IsZero()
	})
	time.Sleep(300 * time.Millisecond) // etcd dials its second stream when it likes
}

func (m *etcdMember) received() []*raftpb.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*raftpb.Message(nil), m.got...)
}

func (m *cairnMember) received() []*raftpb.Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*raftpb.Message(nil), m.got...)
}

// conversation is what raft says in the course of time, from one member to another.
func conversation(from, to uint64) (out []*raftpb.Message) {
	say := func(typ raftpb.MessageType, f func(m *raftpb.Message)) {
		m := &raftpb.Message{Type: typ.Enum(), From: new(from), To: new(to), Term: new(uint64(7))}
		f(m)
		out = append(out, m)
	}
	for _, typ := range []raftpb.MessageType{raftpb.MsgVote, raftpb.MsgPreVote} {
		say(typ, func(m *raftpb.Message) {
			m.Index, m.LogTerm, m.Context = new(uint64(9)), new(uint64(6)), []byte("CampaignTransfer")
		})
	}
	for _, typ := range []raftpb.MessageType{raftpb.MsgVoteResp, raftpb.MsgPreVoteResp} {
		say(typ, func(m *raftpb.Message) { m.Reject = new(true) })
	}
	say(raftpb.MsgProp, func(m *raftpb.Message) {
		m.Term = nil
		m.Entries = []*raftpb.Entry{{Data: []byte("command")}, {Type: raftpb.EntryConfChange.Enum(), Data: []byte("change")}}
	})
	say(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Commit, m.Context = new(uint64(5)), []byte{1, 2, 3, 4, 5, 6, 7, 8} })
	say(raftpb.MsgHeartbeatResp, func(m *raftpb.Message) { m.Context = []byte{1, 2, 3, 4, 5, 6, 7, 8} })
	say(raftpb.MsgAppResp, func(m *raftpb.Message) {
		m.Index, m.Reject, m.RejectHint, m.LogTerm = new(uint64(3)), new(true), new(uint64(2)), new(uint64(1))
	})
	say(raftpb.MsgTransferLeader, func(m *raftpb.Message) { m.From = new(uint64(3)) })
	say(raftpb.MsgTimeoutNow, func(*raftpb.Message) {})
	say(raftpb.MsgReadIndex, func(m *raftpb.Message) { m.Term, m.Entries = nil, []*raftpb.Entry{{Data: []byte("request1")}} })
	say(raftpb.MsgReadIndexResp, func(m *raftpb.Message) {
		m.Index, m.Entries = new(uint64(1<<40)), []*raftpb.Entry{{Data: []byte("request1")}}
	})
	// Log entries: one after another, a gap, another term, large ones, none.
	index, term := uint64(100), uint64(7)
	app := func(sizes ...int) {
		say(raftpb.MsgApp, func(m *raftpb.Message) {
			m.Term, m.LogTerm, m.Index, m.Commit = new(term), new(term), new(index), new(index-1)
			for _, n := range sizes {
				index++
				e := &raftpb.Entry{Term: new(term), Index: new(index), Data: make([]byte, n)}
				_, _ = rand.Read(e.Data)
				m.Entries = append(m.Entries, e)
			}
		})
	}
	app(10)
	app(0, 300, 5000)
	app()
	app(40<<10, 1, 100<<10)
	index += 5
	app(7)
	term = 8
	app(7)
	app(1<<20, 3<<20)
	for range 500 {
		app(300)
	}
	return out
}

// requireAll wants every message once, and those of the log in order.
func requireAll(t *testing.T, want, got []*raftpb.Message) {
	t.Helper()
	var last uint64
	left := map[*raftpb.Message]bool{}
	for _, m := range want {
		left[m] = true
	}
	for _, g := range got {
		found := false
		for m := range left {
			if found = proto.Equal(m, g); found {
				delete(left, m)
				break
			}
		}
		if !found {
			t.Fatalf("nobody has sent this: %v %d %d", g.GetType(), g.GetIndex(), len(g.Entries))
		}
		if g.GetType() == raftpb.MsgApp {
			if g.GetIndex() < last {
				t.Fatalf("out of order: %d after %d", g.GetIndex(), last)
			}
			last = g.GetIndex()
		}
	}
	if len(left) > 0 {
		t.Fatalf("%d messages have not arrived", len(left))
	}
}

func TestConversation(t *testing.T) {
	c, e := pair(t)
	for round := range 3 { // the streams of the later rounds go on where the earlier ones ended
		ours, theirs := conversation(1, 2), conversation(2, 1)
		c.t.Send(ours)
		e.t.Send(theirs)
		want := (round + 1) * len(ours)
		eventually(t, "all messages", func() bool { return len(e.received()) >= want && len(c.received()) >= want })
		requireAll(t, ours, e.received()[round*len(ours):])
		requireAll(t, theirs, c.received()[round*len(ours):])
	}
	if c.unreachable != 0 || e.unreachable != 0 {
		t.Fatal("messages were dropped")
	}
}

// TestIdle keeps streams open longer than the timeout for reading: both sides send heartbeats that the other understands.
func TestIdle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 7 s")
	}
	c, e := pair(t)
	before, _ := c.t.ActiveSince(2)
	etcdBefore := e.t.ActiveSince(1)
	time.Sleep(7 * time.Second)
	after, ok := c.t.ActiveSince(2)
	if !ok || after != before || e.t.ActiveSince(1) != etcdBefore {
		t.Fatal("the connection was lost")
	}
	if s := c.t.Peers()[0]; s.RoundTrip <= 0 || s.ClockDifference.Abs() > time.Second || s.LastError != nil {
		t.Fatalf("the probe has found %+v", s)
	}
	if n := len(c.received()) + len(e.received()); n > 0 {
		t.Fatalf("%d messages from nowhere", n)
	}
}

func TestSnapshots(t *testing.T) {
	c, e := pair(t)
	image := make([]byte, 3<<20)
	_, _ = rand.Read(image)
	msg := func(from, to uint64) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(from), To: new(to), Term: new(uint64(7)), Snapshot: &raftpb.Snapshot{
			Data: []byte("{}"), Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(12)), Term: new(uint64(7)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}}}
	}
	c.t.SendSnapshot(msg(1, 2), func(w io.Writer) error {
		_, err := w.Write(image)
		return err
	}, int64(len(image)))
	eventually(t, "an answer to cairn", func() bool { return c.look(func() bool { return len(c.sent) == 1 }) })
	if c.sent[0] != nil {
		t.Fatal(c.sent[0])
	}
	name, err := e.snap.DBFilePath(12)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || !bytes.Equal(b, image) {
		t.Fatalf("the image has changed: %v", err)
	}
	requireAll(t, []*raftpb.Message{msg(1, 2)}, e.received())

	// An image that breaks off is not kept by etcd.
	c.t.SendSnapshot(msg(1, 2), func(w io.Writer) error {
		_, _ = w.Write(image)
		return errors.New("broken")
	}, int64(len(image)))
	eventually(t, "an answer to cairn", func() bool { return c.look(func() bool { return len(c.sent) == 2 }) })
	if c.sent[1] == nil || len(e.received()) != 1 {
		t.Fatal("half an image was taken for a whole one")
	}

	e.t.SendSnapshot(snap.NewMessage(msg(2, 1), io.NopCloser(bytes.NewReader(image)), int64(len(image))))
	eventually(t, "an answer to etcd", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.snapshots) == 1 })
	if e.snapshots[0] != raft.SnapshotFinish || !bytes.Equal(c.images[0], image) {
		t.Fatal("the image has not arrived")
	}
	requireAll(t, []*raftpb.Message{msg(2, 1)}, c.received())
}

// TestPosts has each side in turn not know the other.
func TestPosts(t *testing.T) {
	t.Run("etcd does not know cairn", func(t *testing.T) {
		c, e := newCairnMember(t, 1), newEtcdMember(t, 2, nil)
		c.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{e.url}}})
		time.Sleep(50 * time.Millisecond) // it has been asked for streams, and remembers who asked
		talk(t, c, e)
	})
	t.Run("cairn does not know etcd", func(t *testing.T) {
		c, e := newCairnMember(t, 1), newEtcdMember(t, 2, nil)
		e.t.AddPeer(1, []string{c.url})
		eventually(t, "cairn remembers who has asked", func() bool { return len(c.t.Peers()) == 1 && c.t.Peers()[0].Temporary })
		talk(t, c, e)
	})
}

func talk(t *testing.T, c *cairnMember, e *etcdMember) {
	ours, theirs := conversation(1, 2)[:20], conversation(2, 1)[:20]
	for i := range ours { // posts may overtake each other
		c.t.Send(ours[i : i+1])
		e.t.Send(theirs[i : i+1])
		eventually(t, "a message", func() bool { return len(e.received()) == i+1 && len(c.received()) == i+1 })
	}
	requireAll(t, ours, e.received())
	requireAll(t, theirs, c.received())
}

// TestRemoved has each side in turn removed from the cluster.
func TestRemoved(t *testing.T) {
	t.Run("cairn", func(t *testing.T) {
		c, e := pair(t)
		e.mu.Lock()
		e.removed[1] = true
		e.mu.Unlock()
		e.t.RemovePeer(1)
		eventually(t, "cairn is told", func() bool { return c.look(func() bool { return len(c.expelled) == 1 }) })
	})
	t.Run("etcd by its streams", func(t *testing.T) {
		c, e := pair(t)
		c.mu.Lock()
		c.removed[2] = true
		c.mu.Unlock()
		c.t.SetPeers(nil)
		if err := <-e.errc; err == nil {
			t.Fatal("etcd is told nothing")
		}
	})
	t.Run("etcd by a post", func(t *testing.T) {
		c, e := newCairnMember(t, 1), newEtcdMember(t, 2, nil)
		c.removed[2] = true
		e.t.AddRemote(1, []string{c.url})
		e.t.Send(conversation(2, 1)[:1])
		if err := <-e.errc; err == nil {
			t.Fatal("etcd is told nothing")
		}
	})
	t.Run("cairn by a post", func(t *testing.T) {
		c, e := newCairnMember(t, 1), newEtcdMember(t, 2, nil)
		e.removed[1] = true
		c.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{e.url}}})
		c.t.Send(conversation(1, 2)[:1])
		eventually(t, "cairn is told", func() bool { return c.look(func() bool { return len(c.expelled) == 1 }) })
	})
}

// TestRestarts replaces one side at a time.
func TestRestarts(t *testing.T) {
	c, e := pair(t)
	e.t.RemovePeer(1)
	e.t.AddPeer(1, []string{c.url})
	time.Sleep(500 * time.Millisecond)
	talk(t, c, e)
	c.t.SetPeers(nil)
	c.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{e.url}}})
	time.Sleep(500 * time.Millisecond)
	c.got, e.got = nil, nil
	talk(t, c, e)
}

// TestQuestions asks a member of cairn with the functions that etcd's members ask with.
func TestQuestions(t *testing.T) {
	c := newCairnMember(t, 1)
	ctx := context.Background()
	ttl, err := leasehttp.RenewHTTP(ctx, 1, c.url+leasehttp.LeasePrefix, http.DefaultTransport)
	if err != nil || ttl != 60 {
		t.Fatal(ttl, err)
	}
	if _, err := leasehttp.RenewHTTP(ctx, 2, c.url+leasehttp.LeasePrefix, http.DefaultTransport); !errors.Is(err, leasehttp.ErrLeaseHTTPTimeout) {
		t.Fatal(err)
	}
	if _, err := leasehttp.RenewHTTP(ctx, 3, c.url+leasehttp.LeasePrefix, http.DefaultTransport); !errors.Is(err, lease.ErrLeaseNotFound) {
		t.Fatal(err)
	}
	left, err := leasehttp.TimeToLiveHTTP(ctx, 1, true, c.url+leasehttp.LeaseInternalPrefix, http.DefaultTransport)
	if err != nil || left.LeaseTimeToLiveResponse.TTL != 59 || len(left.LeaseTimeToLiveResponse.Keys) != 1 {
		t.Fatal(left, err)
	}
	if _, err := leasehttp.TimeToLiveHTTP(ctx, 3, true, c.url+leasehttp.LeaseInternalPrefix, http.DefaultTransport); !errors.Is(err, lease.ErrLeaseNotFound) {
		t.Fatal(err)
	}
	h, err := etcdserver.HashByRev(ctx, testCluster, http.DefaultClient, c.url, 5)
	if err != nil || h.Hash != 7 || h.CompactRevision != 3 || h.HashRevision != 5 || h.Header.Revision != 9 {
		t.Fatal(h, err)
	}
	if _, err := etcdserver.HashByRev(ctx, testCluster, http.DefaultClient, c.url, 1); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Fatal(err)
	}
	if _, err := etcdserver.HashByRev(ctx, 5, http.DefaultClient, c.url, 5); !errors.Is(err, rpctypes.ErrClusterIDMismatch) {
		t.Fatal(err)
	}
	found, err := etcdserver.GetClusterFromRemotePeers(zap.NewNop(), []string{c.url}, http.DefaultTransport)
	if err != nil || found.ID() != testCluster || len(found.Members()) != 2 {
		t.Fatal(found, err)
	}
	if m := found.Member(types.ID(7)); !m.IsLearner || m.PeerURLs[0] != "http://b" {
		t.Fatal(m)
	}
}
