package peer

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// appMessages makes a run of MsgApp with n entries of size bytes each, as a leader sends them when all is well.
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

// BenchmarkSend sends log entries from one Transport to another over loopback. With window 1, each message waits for an
// answer to the one before, as the writes of a single client do; with a larger one the stream is full. The same with
// etcd's transport is BenchmarkEtcd in bench/peers.
func BenchmarkSend(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		for _, window := range []int{1, 64} {
			b.Run(fmt.Sprintf("entries=%d/window=%d", n, window), func(b *testing.B) { benchmarkSend(b, n, window, 300) })
		}
	}
}

// BenchmarkSendLarge is where byReference comes from.
func BenchmarkSendLarge(b *testing.B) {
	for _, size := range []int{4 << 10, 16 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) { benchmarkSend(b, max(1, 256<<10/size), 4, size) })
	}
}

// heap stands for that of a member: with next to none, the collector would run all the time.
var heap []byte

func benchmarkSend(b *testing.B, n, window, size int) {
	heap = make([]byte, 256<<20)
	defer func() { heap = nil }()
	answers := make(chan struct{}, window)
	var received atomic.Int64
	a, z := newTestMember(b, 1, func(*raftpb.Message) { answers <- struct{}{} }), newTestMember(b, 2, nil)
	z.onProcess = func(m *raftpb.Message) {
		received.Add(int64(len(m.Entries)))
		z.t.Send([]*raftpb.Message{{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: m.Term, Index: m.Index}})
	}
	connect(b, a, z)
	msgs := appMessages(1, 2, 1024, n, size)
	for range window {
		answers <- struct{}{}
	}
	b.ReportAllocs()
	began := cpu()
	i := 0
	for b.Loop() {
		<-answers
		a.t.Send(msgs[i%len(msgs) : i%len(msgs)+1])
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
}
