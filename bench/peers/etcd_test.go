package peers

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
)

const testCluster = 0xc1

// etcdMember is a member of which only etcd's transport is real.
type etcdMember struct {
	id   uint64
	url  string
	t    *rafthttp.Transport
	snap *snap.Snapshotter

	onProcess func(*raftpb.Message)
	errc      chan error

	mu          sync.Mutex
	got         []*raftpb.Message
	removed     map[uint64]bool
	unreachable int
	snapshots   []raft.SnapshotStatus
}

func newEtcdMember(tb testing.TB, id uint64, onProcess func(*raftpb.Message)) *etcdMember {
	m := &etcdMember{id: id, onProcess: onProcess, errc: make(chan error, 16), removed: map[uint64]bool{}}
	url, set := listen(tb)
	m.url = url
	m.snap = snap.New(zap.NewNop(), tb.TempDir())
	server := stats.NewServerStats("", "")
	m.t = &rafthttp.Transport{
		Logger: zap.NewNop(), ID: types.ID(id), ClusterID: testCluster, URLs: types.MustNewURLs([]string{m.url}), Raft: m,
		Snapshotter: m.snap, ServerStats: server, LeaderStats: stats.NewLeaderStats(zap.NewNop(), "1"), ErrorC: m.errc,
		DialTimeout: 2 * time.Second,
	}
	if err := m.t.Start(); err != nil {
		tb.Fatal(err)
	}
	set(m.t.Handler())
	tb.Cleanup(m.t.Stop)
	return m
}

func (m *etcdMember) Process(_ context.Context, msg *raftpb.Message) error {
	if m.onProcess != nil {
		m.onProcess(msg)
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, msg)
	return nil
}

func (m *etcdMember) IsIDRemoved(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed[id]
}

func (m *etcdMember) ReportUnreachable(uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unreachable++
}

func (m *etcdMember) ReportSnapshot(_ uint64, s raft.SnapshotStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snapshots = append(m.snapshots, s)
}

func appMessages(from, to uint64, count, n, size int) []*raftpb.Message {
	data := make([]byte, size)
	index := uint64(1000)
	out := make([]*raftpb.Message, count)
	for i := range out {
		m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(from), To: new(to), Term: new(uint64(7)), LogTerm: new(uint64(7)),
			Index: new(index), Commit: new(index)}
		for range n {
			index++
			m.Entries = append(m.Entries, &raftpb.Entry{Term: new(uint64(7)), Index: new(index), Data: data})
		}
		out[i] = m
	}
	return out
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap stands for that of a member: with next to none, the collector would run all the time.
var heap []byte

// BenchmarkEtcd is peer.BenchmarkSend with etcd's transport.
func BenchmarkEtcd(b *testing.B) {
	heap = make([]byte, 256<<20)
	defer func() { heap = nil }()
	for _, n := range []int{1, 10, 100} {
		for _, window := range []int{1, 64} {
			b.Run(fmt.Sprintf("entries=%d/window=%d", n, window), func(b *testing.B) {
				answers := make(chan struct{}, window)
				var received atomic.Int64
				var z *etcdMember
				a := newEtcdMember(b, 1, func(*raftpb.Message) { answers <- struct{}{} })
				z = newEtcdMember(b, 2, func(m *raftpb.Message) {
					received.Add(int64(len(m.Entries)))
					z.t.Send([]*raftpb.Message{{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: m.Term, Index: m.Index}})
				})
				a.t.AddPeer(2, []string{z.url})
				z.t.AddPeer(1, []string{a.url})
				time.Sleep(500 * time.Millisecond)
				msgs := appMessages(1, 2, 1024, n, 300)
				for range window {
					answers <- struct{}{}
				}
				b.ReportAllocs()
				began := cpu()
				i := 0
				for b.Loop() {
					<-answers
					a.t.Send([]*raftpb.Message{msgs[i%len(msgs)]})
					i++
				}
				for range window {
					<-answers
				}
				b.StopTimer()
				b.ReportMetric(float64(cpu()-began)/float64(i*n), "cpu-ns/entry")
				b.ReportMetric(float64(b.Elapsed())/float64(i*n), "ns/entry")
				if got := received.Load(); got != int64(i*n) {
					b.Fatalf("%d entries of %d", got, i*n)
				}
			})
		}
	}
}
