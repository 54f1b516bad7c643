package peer

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

func beat(from, to, n uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(from), To: new(to), Term: new(n)}
}

// TestEveryMessage sends a message of each type, in both directions.
func TestEveryMessage(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	for _, way := range []struct{ from, to *testMember }{{a, b}, {b, a}} {
		var all []*raftpb.Message
		for typ := raftpb.MsgProp; typ <= raftpb.MsgPreVoteResp; typ++ {
			m := &raftpb.Message{Type: typ.Enum(), From: new(uint64(way.from.id)), To: new(uint64(way.to.id)), Term: new(uint64(3)),
				Index: new(uint64(7)), Context: []byte("ctx"), Entries: []*raftpb.Entry{entry(8, 3, "data")}}
			if typ == raftpb.MsgSnap {
				continue
			}
			if travels(m) {
				all = append(all, m)
			} else {
				way.from.t.Send([]*raftpb.Message{m}) // which is not listened to
			}
		}
		way.from.t.Send(all)
		got := way.to.await(len(all))
		require.Len(t, got, len(all))
		for _, m := range all {
			found := false
			for _, g := range got {
				found = found || proto.Equal(m, g)
			}
			require.True(t, found, "%v", m)
		}
	}
}

// TestOrder sends more than a queue holds, with entries of all sizes, and wants it in order.
func TestOrder(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	const count = 3000
	blob := make([]byte, 300<<10)
	_, _ = rand.Read(blob)
	for i := range uint64(count) {
		e := entry(i+1, 1, "x")
		if i%100 == 0 {
			e.Data = blob[:i*100]
		}
		a.t.Send([]*raftpb.Message{
			{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(1)), LogTerm: new(uint64(1)), Index: new(i), Entries: []*raftpb.Entry{e}},
			beat(1, 2, i),
		})
		if i%500 == 0 {
			b.await(int(2 * i))
		}
	}
	app, other := uint64(0), uint64(0)
	for _, m := range b.await(2 * count) {
		if m.GetType() == raftpb.MsgApp {
			require.Equal(t, app, m.GetIndex())
			require.Len(t, m.Entries, 1)
			require.Equal(t, app+1, m.Entries[0].GetIndex())
			if app%100 == 0 {
				require.True(t, bytes.Equal(blob[:app*100], m.Entries[0].Data))
			}
			app++
		} else {
			require.Equal(t, other, m.GetTerm())
			other++
		}
	}
	require.Zero(t, a.unreachable[2])
}

// TestBigEntries sends entries of 8 MiB.
func TestBigEntries(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	msgs := appMessages(1, 2, 3, 1, 8<<20)
	for _, m := range msgs {
		_, _ = rand.Read(m.Entries[0].Data)
	}
	a.t.Send(msgs)
	for i, m := range b.await(3) {
		require.True(t, proto.Equal(msgs[i], m))
		require.LessOrEqual(t, cap(m.Entries[0].Data), 9<<20, "an entry keeps no more alive than itself")
	}
}

// TestRestart ends a member and starts it again at its address.
func TestRestart(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	_, ok := a.t.ActiveSince(2)
	require.True(t, ok)
	_, ok = a.t.ActiveSince(9)
	require.False(t, ok)
	for round := 1; round <= 2; round++ {
		began := time.Now()
		b.stop()
		a.eventually(func() bool { return len(a.down) == round })
		t.Logf("known to be down after %v", time.Since(began))
		require.Eventually(t, func() bool { _, active := a.t.ActiveSince(2); return !active }, 5*time.Second, time.Millisecond)
		a.t.Send([]*raftpb.Message{beat(1, 2, 1)})
		a.eventually(func() bool { return a.unreachable[2] > 0 })
		b.listen(b.addr)
		b.start(nil)
		connect(t, a, b)
		a.t.Send([]*raftpb.Message{beat(1, 2, 2)})
		b.await(round)
		b.t.Send([]*raftpb.Message{beat(2, 1, 2)})
		a.await(round)
	}
	require.Equal(t, []cluster.ID{2, 2}, a.down)
	require.Error(t, a.t.Peers()[0].LastError)
}

// TestKilledProcess kills the process of a member: its peers know at once.
func TestKilledProcess(t *testing.T) {
	if addr := os.Getenv("PEER_TEST_OF"); addr != "" {
		m := newTestMember(t, 2, nil)
		m.t.SetPeers([]cluster.Member{{ID: 1, PeerURLs: []string{addr}}, m.self()})
		_, _ = os.Stdout.WriteString("\n" + m.url + "\n")
		time.Sleep(time.Minute)
		return
	}
	a := newTestMember(t, 1, nil)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestKilledProcess$")
	cmd.Env = append(os.Environ(), "PEER_TEST_OF="+a.url)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	var text []byte
	for !bytes.Contains(text, []byte("http://")) || text[len(text)-1] != '\n' {
		b := make([]byte, 100)
		n, err := out.Read(b)
		require.NoError(t, err)
		text = append(text, b[:n]...)
	}
	url := strings.TrimSpace(string(text))
	a.t.SetPeers([]cluster.Member{a.self(), {ID: 2, PeerURLs: []string{url}}})
	a.awaitStreams(t, 2)
	require.Eventually(t, func() bool { _, active := a.t.ActiveSince(2); return active }, 5*time.Second, time.Millisecond)
	time.Sleep(100 * time.Millisecond) // both streams are open
	began := time.Now()
	require.NoError(t, cmd.Process.Kill())
	a.eventually(func() bool { return len(a.down) == 1 })
	t.Logf("known to be down after %v", time.Since(began))
	require.Less(t, time.Since(began), time.Second)
}

// TestCutAndHeal drops everything between two of three members.
func TestCutAndHeal(t *testing.T) {
	a, b, c := newTestMember(t, 1, nil), newTestMember(t, 2, nil), newTestMember(t, 3, nil)
	connect(t, a, b, c)
	a.t.Pause(2, true)
	a.t.Send([]*raftpb.Message{beat(1, 2, 1), beat(1, 3, 1)})
	b.t.Send([]*raftpb.Message{beat(2, 1, 1)})
	c.await(1)
	// Nor is anything posted, and no image sent.
	post(t, a, beat(2, 1, 1), http.StatusInternalServerError)
	a.t.SendSnapshot(snapshotTo(2), func(io.Writer) error { return nil }, 0)
	a.eventually(func() bool { return len(a.sent) == 1 && a.sent[0] != nil })
	time.Sleep(20 * time.Millisecond)
	require.Empty(t, a.received())
	require.Empty(t, b.received())
	a.t.Pause(2, false)
	a.t.Send([]*raftpb.Message{beat(1, 2, 2)})
	b.t.Send([]*raftpb.Message{beat(2, 1, 2)})
	require.Equal(t, uint64(2), a.await(1)[0].GetTerm())
	require.Equal(t, uint64(2), b.await(1)[0].GetTerm())
	require.Empty(t, a.down)
	require.Empty(t, a.unreachable)
}

func snapshotTo(to uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(1)), To: new(to), Term: new(uint64(4)),
		Snapshot: &raftpb.Snapshot{Data: []byte("{}"), Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(12)), Term: new(uint64(4))}}}
}

// post posts a message as member 2 would.
func post(t *testing.T, to *testMember, m *raftpb.Message, want int) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, to.url+"/raft", strings.NewReader(message(m)))
	require.NoError(t, err)
	req.Header = http.Header{headVersion: {"3.7.3"}, headMinVersion: {"3.0.0"}, headCluster: {"c1"}, headFrom: {"2"}}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, want, resp.StatusCode)
}

// TestRemoved lets a member learn that it was removed, by its streams and by its posts.
func TestRemoved(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	a.mu.Lock()
	a.removed[2] = true
	a.mu.Unlock()
	before := runtime.NumGoroutine()
	a.t.SetPeers([]cluster.Member{a.self()})
	b.eventually(func() bool { return len(b.expelled) == 1 })
	require.Empty(t, a.t.Peers())
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before }, 5*time.Second, time.Millisecond)
	b.t.Send([]*raftpb.Message{beat(2, 1, 1)}) // posted, because its streams are gone
	b.eventually(func() bool { return b.unreachable[1] > 0 })
	time.Sleep(50 * time.Millisecond)
	require.Len(t, b.expelled, 1, "it is told once")
	require.Empty(t, a.received())

	c, d := newTestMember(t, 3, nil), newTestMember(t, 4, nil)
	d.removed[3] = true
	c.t.SetPeers([]cluster.Member{d.self()})
	c.t.peer(4).cancel() // so that it has nothing but posts
	p := newPeer(c.t, 5, false)
	p.addrs.set(parseURLs([]string{d.url}))
	p.posts.push(beat(3, 4, 1))
	c.eventually(func() bool { return len(c.expelled) > 0 })
}

// TestUnawareMember has a member that does not know yet who else belongs to the cluster. It answers nevertheless.
func TestUnawareMember(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	b.t.SetPeers([]cluster.Member{a.self(), b.self()})
	require.Eventually(t, func() bool { return a.t.peer(2) != nil }, 5*time.Second, time.Millisecond)
	require.True(t, a.t.Peers()[0].Temporary)
	require.Equal(t, []string{b.url}, a.t.Peers()[0].URLs)
	b.t.Send([]*raftpb.Message{beat(2, 1, 1)}) // posted, for a refuses streams
	a.await(1)
	a.t.Send([]*raftpb.Message{beat(1, 2, 2), appMessages(1, 2, 1, 3, 10)[0]})
	b.await(2)
	require.Eventually(t, func() bool { _, active := a.t.ActiveSince(2); return active }, 5*time.Second, time.Millisecond)
	// Others' members are not let go of, and it becomes one in time.
	a.t.SetPeers([]cluster.Member{a.self(), {ID: 7}})
	require.NotNil(t, a.t.peer(2))
	connect(t, a, b)
	require.Len(t, a.t.Peers(), 1)
	require.False(t, a.t.Peers()[0].Temporary)
	b.t.Send([]*raftpb.Message{beat(2, 1, 3)})
	require.Equal(t, uint64(3), a.await(2)[1].GetTerm())
}

// TestRemotesAreBounded has a stranger who claims to be many.
func TestRemotesAreBounded(t *testing.T) {
	a := newTestMember(t, 1, nil)
	for id := cluster.ID(10); id < 10+2*maxRemotes; id++ {
		a.t.remember(id, []string{"http://127.0.0.1:1"})
	}
	require.Len(t, a.t.Peers(), maxRemotes)
	require.NotNil(t, a.t.peer(9+2*maxRemotes))
	a.t.remember(1, []string{"http://127.0.0.1:1"})
	a.t.remember(0, []string{"http://127.0.0.1:1"})
	require.Nil(t, a.t.peer(1))
	a.removed[5] = true
	a.t.remember(5, []string{"http://127.0.0.1:1"})
	a.t.remember(6, []string{"", "%zz", "ftp://x", "http:///path"})
	require.Nil(t, a.t.peer(5))
	require.Nil(t, a.t.peer(6))
	a.t.remember(9+2*maxRemotes, []string{"http://127.0.0.1:2"})
	require.Equal(t, []string{"http://127.0.0.1:2"}, a.t.peer(9+2*maxRemotes).addrs.list())
}

// TestNewerStream opens a second stream of the same kind: the first one ends, in the regular way.
func TestNewerStream(t *testing.T) {
	a := newTestMember(t, 1, nil)
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{"http://127.0.0.1:1"}}})
	open := func() *http.Response {
		req, err := http.NewRequest(http.MethodGet, a.url+"/raft/stream/message/2", nil)
		require.NoError(t, err)
		req.Header = http.Header{headVersion: {"3.5.0"}, headMinVersion: {"3.0.0"}, headCluster: {"c1"}, headFrom: {"2"}, headTo: {"1"}}
		resp, err := (&http.Transport{}).RoundTrip(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
		require.Equal(t, "3.7.3", resp.Header.Get(headVersion))
		require.Equal(t, "c1", resp.Header.Get(headCluster))
		return resp
	}
	first, second := open(), open()
	rest, err := io.ReadAll(first.Body)
	require.NoError(t, err, "the end is a regular one")
	require.Empty(t, rest)
	a.t.Send([]*raftpb.Message{beat(1, 2, 1)})
	m, _, err := newFrameReader(streamMessage, second.Body, 2, 1).next()
	require.NoError(t, err)
	require.True(t, proto.Equal(beat(1, 2, 1), m))
	_ = second.Body.Close()
	require.Eventually(t, func() bool { return a.t.peer(2).message.Load() == nil }, 5*time.Second, time.Millisecond)
}

// TestWithoutLimits: who has said nothing yet may be one that does not know limits, and who has come without a word of them is.
func TestWithoutLimits(t *testing.T) {
	a := newTestMember(t, 1, nil)
	expect := func(want ...any) {
		t.Helper()
		id, silent, found := a.t.WithoutLimits()
		require.Equal(t, want, []any{id, silent, found})
	}
	expect(cluster.ID(0), false, false)
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{"http://127.0.0.1:1"}}, {ID: 3, PeerURLs: []string{"http://127.0.0.1:1"}}})
	come := func(id string, more http.Header) {
		req, err := http.NewRequest(http.MethodGet, a.url+"/raft/stream/message/"+id, nil)
		require.NoError(t, err)
		req.Header = http.Header{headVersion: {"3.5.0"}, headMinVersion: {"3.0.0"}, headCluster: {"c1"}, headFrom: {id}, headTo: {"1"}}
		maps.Copy(req.Header, more)
		resp, err := (&http.Transport{}).RoundTrip(req)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		_ = resp.Body.Close()
	}
	come("2", newTestMember(t, 2, nil).t.me.head)
	expect(cluster.ID(3), true, true)
	come("3", nil)
	expect(cluster.ID(3), false, true)
	come("3", http.Header{headLimits: {"1"}})
	expect(cluster.ID(0), false, false)
	come("2", nil)
	expect(cluster.ID(2), false, true)
}

// TestSnapshot sends images: whole ones, one that cannot be read, and one that is not wanted.
func TestSnapshot(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	image := make([]byte, 5<<20)
	_, _ = rand.Read(image)
	send := func(write func(io.Writer) error) error {
		a.mu.Lock()
		n := len(a.sent)
		a.mu.Unlock()
		a.t.SendSnapshot(snapshotTo(2), write, int64(len(image)))
		a.eventually(func() bool { return len(a.sent) == n+1 })
		return a.sent[n]
	}
	whole := func(w io.Writer) error {
		_, err := w.Write(image)
		return err
	}
	require.NoError(t, send(whole))
	require.True(t, bytes.Equal(image, b.images[0]))
	require.True(t, proto.Equal(snapshotTo(2), b.received()[0]))
	require.NoError(t, send(func(io.Writer) error { return nil }))
	require.Empty(t, b.images[1])
	require.ErrorContains(t, send(func(w io.Writer) error {
		_ = whole(w)
		return errors.New("broken disk")
	}), "broken disk")
	require.Len(t, b.images, 2, "what breaks off is not taken for whole")
	keep := func(f func(*raftpb.Message, io.Reader) error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.keep = f
	}
	keep(func(*raftpb.Message, io.Reader) error { return errors.New("no space") })
	require.ErrorContains(t, send(whole), "no space")
	keep(nil)
	require.NoError(t, send(whole))

	// One to each peer at a time.
	hold := make(chan struct{})
	a.t.SendSnapshot(snapshotTo(2), func(io.Writer) error { <-hold; return nil }, 0)
	require.Equal(t, errTooManyImages, send(whole))
	close(hold)
	a.eventually(func() bool { return len(a.sent) == 7 })
	require.NoError(t, a.sent[6])
	require.Error(t, func() error { a.t.SendSnapshot(snapshotTo(9), whole, 0); return a.sent[7] }())

	// A snapshot among messages is a mistake that raft is told of.
	a.t.Send([]*raftpb.Message{snapshotTo(2)})
	require.Error(t, a.sent[8])

	// Stop ends one that is under way.
	a.t.SendSnapshot(snapshotTo(2), func(w io.Writer) error {
		for {
			if _, err := w.Write(image); err != nil {
				return err
			}
		}
	}, 0)
	time.Sleep(10 * time.Millisecond)
	a.t.Stop()
	require.Error(t, a.sent[9])
}

// TestBounds has a peer that takes nothing: what does not fit is dropped, and raft is told.
func TestBounds(t *testing.T) {
	a := newTestMember(t, 1, nil)
	a.t.Stop()
	a.start(func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{"http://127.0.0.1:1"}}})
	conn, err := net.Dial("tcp", a.addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /raft/stream/msgapp/2 HTTP/1.1\r\nHost: x\r\nX-Server-Version: 3.7.3\r\nX-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: c1\r\nX-Raft-To: 1\r\n\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return a.t.peer(2).app.Load() != nil }, 5*time.Second, time.Millisecond)
	l := a.t.peer(2).app.Load()
	msgs := appMessages(1, 2, 1, 1, 1<<20)
	for range 200 {
		a.t.Send(msgs)
	}
	require.Positive(t, a.unreachable[2])
	l.mu.Lock()
	require.LessOrEqual(t, l.bytes, maxQueuedBytes)
	l.mu.Unlock()
	// A write that takes too long ends the stream.
	require.Eventually(t, func() bool { return a.t.peer(2).app.Load() == nil }, 5*time.Second, time.Millisecond)
	require.False(t, l.push(msgs[0]))

	// The same with many small messages, and with posts to where nobody answers.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	a.t.SetPeers([]cluster.Member{{ID: 3, PeerURLs: []string{"http://" + silent.Addr().String()}}})
	for range 2 * postQueue {
		a.t.Send([]*raftpb.Message{beat(1, 3, 1)})
	}
	a.eventually(func() bool { return a.unreachable[3] >= postQueue-postWorkers })
	p := a.t.peer(3)
	l = newLink(p, streamMessage, conn)
	for range maxQueued + 1 {
		require.True(t, l.push(beat(1, 3, 1)))
	}
	require.Len(t, l.queue, maxQueued)
}

// TestSilentPeer opens streams with somebody who then says nothing.
func TestSilentPeer(t *testing.T) {
	var opened atomic.Int64
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	go func() {
		for {
			c, err := mute.Accept()
			if err != nil {
				return
			}
			opened.Add(1)
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	a := newTestMember(t, 1, nil)
	a.t.Stop()
	a.start(func(c *Config) { c.ReadTimeout = 200 * time.Millisecond })
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{"http://" + mute.Addr().String()}}})
	require.Eventually(t, func() bool { return opened.Load() >= 4 }, 5*time.Second, time.Millisecond)
	require.Empty(t, a.down)
	require.ErrorContains(t, a.t.Peers()[0].LastError, "timeout")
}

// TestIdleStream stays open although nothing is said on it.
func TestIdleStream(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	for _, m := range []*testMember{a, b} {
		m.t.Stop()
		m.start(func(c *Config) { c.ReadTimeout = 300 * time.Millisecond })
	}
	connect(t, a, b)
	first := a.t.peer(2).app.Load()
	since, _ := a.t.ActiveSince(2)
	time.Sleep(900 * time.Millisecond)
	require.Same(t, first, a.t.peer(2).app.Load())
	still, ok := a.t.ActiveSince(2)
	require.True(t, ok)
	require.Equal(t, since, still)
	require.Empty(t, a.received())
}

// TestAddresses has a peer with several addresses, of which one works, and then another one.
func TestAddresses(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	gone := "http://" + dead.Addr().String()
	b.t.SetPeers([]cluster.Member{a.self()})
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{gone, b.url}}})
	b.awaitStreams(t, 1)
	a.awaitStreams(t, 2)
	require.Empty(t, a.down)
	same := a.t.peer(2)
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{gone}}})
	require.Same(t, same, a.t.peer(2))
	a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{gone, b.url}}})
	b.stop()
	a.eventually(func() bool { return len(a.down) == 1 })

	var addrs addresses
	require.Nil(t, addrs.pick())
	addrs.set(parseURLs([]string{"http://a:1/x", "http://b:2"}))
	u := addrs.pick()
	require.Equal(t, "http://a:1", u.String())
	require.False(t, addrs.failed(u, true))
	v := addrs.pick()
	require.Equal(t, "http://b:2", v.String())
	require.False(t, addrs.failed(v, false))
	require.False(t, addrs.failed(addrs.pick(), true))
	require.True(t, addrs.failed(v, true))
	addrs.alive()
	require.False(t, addrs.failed(v, true))
	require.False(t, addrs.set(parseURLs([]string{"http://a:1", "http://b:2"})))
}

// TestTLS joins members that know each other by certificates.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	both := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2", "http/1.1"}}
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	for _, m := range []*testMember{a, b} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", both)
		require.NoError(t, err)
		m.t.Stop()
		m.url = "https://" + l.Addr().String()
		m.start(func(c *Config) { c.TLS = both.Clone })
		go func() { _ = m.srv.Serve(l) }()
	}
	connect(t, a, b)
	msgs := appMessages(1, 2, 20, 5, 20<<10)
	a.t.Send(msgs)
	for i, m := range b.await(len(msgs)) {
		require.True(t, proto.Equal(msgs[i], m))
	}
	a.t.SendSnapshot(snapshotTo(2), func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<20)); return err }, 1<<20)
	b.await(len(msgs) + 1)
	c := NewClient(both.Clone, 5*time.Second)
	defer c.Close()
	_, _, err = c.Version(t.Context(), b.url)
	require.NoError(t, err)
	b.stop()
	a.eventually(func() bool { return len(a.down) == 1 })
}

// TestUnixSocket joins members over sockets in the file system.
func TestUnixSocket(t *testing.T) {
	t.Chdir(t.TempDir())
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	for _, m := range []*testMember{a, b} {
		name := "localhost:" + m.id.String()
		l, err := net.Listen("unix", filepath.Join(".", name))
		require.NoError(t, err)
		m.url = "unix://" + name
		go func() { _ = m.srv.Serve(l) }()
	}
	connect(t, a, b)
	a.t.Send([]*raftpb.Message{beat(1, 2, 1)})
	b.await(1)
	b.stop()
	a.eventually(func() bool { return len(a.down) == 1 })
}

// TestStop leaves no goroutine, whatever was under way.
func TestStop(t *testing.T) {
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	before := runtime.NumGoroutine()
	a, b, c := newTestMember(t, 1, nil), newTestMember(t, 2, nil), newTestMember(t, 3, nil)
	connect(t, a, b, c)
	block := make(chan struct{})
	b.keep = func(_ *raftpb.Message, image io.Reader) error {
		close(block)
		_, err := io.ReadAll(image)
		return err
	}
	a.t.SendSnapshot(snapshotTo(2), func(w io.Writer) error {
		_, err := w.Write(make([]byte, 2*imageBuffer))
		<-block
		return err
	}, 0)
	<-block
	a.t.SetPeers([]cluster.Member{a.self(), b.self(), c.self(), {ID: 9, PeerURLs: []string{"http://127.0.0.1:1"}}})
	for range 1000 {
		a.t.Send([]*raftpb.Message{beat(1, 2, 1), beat(1, 3, 1), beat(1, 9, 1)})
	}
	for _, m := range []*testMember{c, b, a} {
		m.stop()
		m.t.Stop() // again
		m.t.Send([]*raftpb.Message{beat(uint64(m.id), 2, 1)})
		m.t.SetPeers([]cluster.Member{a.self(), b.self(), c.self()})
		require.Empty(t, m.t.Peers())
		called := 0
		m.t.SendSnapshot(snapshotTo(2), func(w io.Writer) error {
			called++
			_, err := w.Write([]byte("x"))
			require.Error(t, err)
			return nil
		}, 0)
		require.Equal(t, 1, called)
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

// TestMetrics looks at the figures under etcd's names.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	a.t.Stop()
	a.start(func(c *Config) { c.Metrics = NewMetrics(reg) })
	connect(t, a, b)
	a.t.Send([]*raftpb.Message{beat(1, 2, 1)})
	b.await(1)
	b.t.Send([]*raftpb.Message{beat(2, 1, 1)})
	a.await(1)
	a.t.SendSnapshot(snapshotTo(2), func(io.Writer) error { return nil }, 0)
	a.eventually(func() bool { return len(a.sent) == 1 })
	b.t.SendSnapshot(&raftpb.Message{Type: raftpb.MsgSnap.Enum(), From: new(uint64(2)), To: new(uint64(1)), Snapshot: &raftpb.Snapshot{}}, func(io.Writer) error { return nil }, 0)
	b.eventually(func() bool { return len(b.sent) == 1 })
	figure := func(name string, labels ...string) float64 {
		all, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range all {
			require.True(t, strings.HasPrefix(f.GetName(), "etcd_network_"))
			for _, m := range f.GetMetric() {
				var got []string
				for _, l := range m.GetLabel() {
					got = append(got, l.GetName()+"="+l.GetValue())
				}
				if f.GetName() == "etcd_network_"+name && slices.Equal(got, labels) {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		return -1
	}
	require.Equal(t, 1.0, figure("active_peers", "Local=1", "Remote=2"))
	require.Equal(t, 1.0, figure("snapshot_send_success", "To=2"))
	require.Equal(t, 1.0, figure("snapshot_send_total_duration_seconds", "To=2"))
	require.Equal(t, 0.0, figure("snapshot_send_inflights_total", "To=2"))
	require.Equal(t, 1.0, figure("snapshot_receive_success", "From=2"))
	require.Positive(t, figure("peer_sent_bytes_total", "To=2"))
	require.Positive(t, figure("peer_received_bytes_total", "From=2"))
	b.stop()
	require.Eventually(t, func() bool { return figure("disconnected_peers_total", "Local=1", "Remote=2") == 1 }, 5*time.Second, time.Millisecond)
	a.t.Stop()
	require.Zero(t, figure("active_peers", "Local=1", "Remote=2"))
}

// TestProbing asks a peer how far away it is, and one whose clock is wrong.
func TestProbing(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	p := a.t.peer(2)
	rtt, now, err := p.ask()
	require.NoError(t, err)
	require.Less(t, rtt, time.Second)
	require.WithinDuration(t, time.Now(), now, time.Second)
	s := p.status.probed(100*time.Millisecond, func(s time.Duration) time.Duration { return time.Second - s/2 })
	require.Equal(t, 100*time.Millisecond, s.RoundTrip)
	require.Equal(t, 950*time.Millisecond, s.ClockDifference)
	require.Equal(t, 110*time.Millisecond, p.status.probed(180*time.Millisecond, func(time.Duration) time.Duration { return 0 }).RoundTrip)
	for _, body := range []string{`{"OK":false}`, `{`, ``} {
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() { _ = srv.Serve(l) }()
		p.addrs.set(parseURLs([]string{"http://" + l.Addr().String()}))
		_, _, err = p.ask()
		require.Error(t, err)
		_ = srv.Close()
	}
	_, _, err = p.ask()
	require.Error(t, err)
	p.addrs.set(nil)
	_, _, err = p.ask()
	require.Error(t, err)
}

// TestWrongClock warns of a peer whose clock is far from this one's, and of one that does not answer, but not all the time.
func TestWrongClock(t *testing.T) {
	var text bytes.Buffer
	a := newTestMember(t, 1, nil)
	a.t.Stop()
	reg := prometheus.NewRegistry()
	a.start(func(c *Config) {
		c.Logger, c.Metrics = slog.New(slog.NewTextHandler(&text, nil)), NewMetrics(reg)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"OK":true,"Now":%q}`, time.Now().Add(time.Hour).Format(time.RFC3339Nano))
	})}
	go func() { _ = srv.Serve(l) }()
	p := newPeer(a.t, 2, false)
	p.addrs.set(parseURLs([]string{"http://" + l.Addr().String()}))
	b := &prober{p: p}
	b.probe()
	b.probe()
	require.InDelta(t, -time.Hour, p.status.get().ClockDifference, float64(time.Second))
	require.Equal(t, 1, strings.Count(text.String(), "high clock drift"))
	_ = srv.Close()
	b.probe()
	b.probe()
	require.Equal(t, 1, strings.Count(text.String(), "unhealthy"))
}

// TestMisfits dials members that will not have this one.
func TestMisfits(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.ClusterID = 0xc2 }, "cluster ID mismatch"},
		{func(c *Config) { c.MinClusterVersion = "3.9.0" }, "incompatible version"},
		{func(c *Config) { c.ID = 3 }, "to field mismatch"},
		{nil, "does not know this member"},
	} {
		a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
		b.t.Stop()
		b.start(c.change)
		if c.change != nil {
			b.t.SetPeers([]cluster.Member{a.self()})
		}
		a.t.SetPeers([]cluster.Member{b.self()})
		require.Eventually(t, func() bool { return a.t.Peers()[0].LastError != nil }, 5*time.Second, time.Millisecond)
		require.ErrorContains(t, a.t.Peers()[0].LastError, c.want)
		if c.want != "does not know this member" {
			a.t.Send([]*raftpb.Message{beat(1, 2, 1)})
			a.eventually(func() bool { return a.unreachable[2] > 0 })
		}
		require.Empty(t, a.down)
		require.Empty(t, a.expelled)
	}
}

// TestRefusedMessage has raft refuse what arrives on a stream: the stream goes on.
func TestRefusedMessage(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	b.mu.Lock()
	b.processErr = errTest
	b.mu.Unlock()
	a.t.Send([]*raftpb.Message{beat(1, 2, 1), beat(1, 9, 1), beat(1, 2, 2)})
	b.await(2)
	// What is for another member is not stepped.
	l := a.t.peer(2).message.Load()
	l.push(beat(1, 9, 1))
	l.push(beat(1, 2, 3))
	l.poke()
	require.Equal(t, uint64(2), b.await(3)[2].GetTo())
}

// TestSlowBody has a sender that does not get on, and then a member that stops while it waits.
func TestSlowBody(t *testing.T) {
	a := newTestMember(t, 1, nil)
	a.t.Stop()
	a.start(func(c *Config) { c.ReadTimeout = 100 * time.Millisecond })
	begin := func(path string) *bufio.Reader {
		conn, err := net.Dial("tcp", a.addr)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nX-Server-Version: 3.7.3\r\nX-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: c1\r\nContent-Length: 100\r\n\r\n12345678")
		require.NoError(t, err)
		return bufio.NewReader(conn)
	}
	for _, path := range []string{"/raft", "/raft/snapshot", "/leases"} {
		resp, err := http.ReadResponse(begin(path), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	}
	a.t.Stop()
	a.start(func(c *Config) { c.ReadTimeout = time.Minute })
	r := begin("/raft")
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	a.t.Stop()
	require.Less(t, time.Since(began), 5*time.Second)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

// TestBusy has more senders than there is room for.
func TestBusy(t *testing.T) {
	m := direct(t)
	for range cap(m.t.serving.images) {
		m.t.serving.images <- struct{}{}
	}
	r := httptest.NewRequest(http.MethodPost, "/raft/snapshot", strings.NewReader(""))
	r.Header = rightHead()
	w := httptest.NewRecorder()
	m.t.Handler().ServeHTTP(w, r)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	// A body of unknown length is read as far as it may be.
	r = httptest.NewRequest(http.MethodPost, "/leases", io.MultiReader(strings.NewReader(strings.Repeat("x", maxQuestion)), strings.NewReader("x")))
	w = httptest.NewRecorder()
	m.t.Handler().ServeHTTP(w, r)
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}

func TestNewPanics(t *testing.T) {
	for _, v := range []string{"3.7", "x", "3.7.x"} {
		require.Panics(t, func() { New(Config{Version: v, MinClusterVersion: "3.0.0"}) })
		require.Panics(t, func() { New(Config{Version: "3.7.3", MinClusterVersion: v}) })
	}
}
