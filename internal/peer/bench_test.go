package peer

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
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

func cpu(who int) time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(who, &u)
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
	began := cpu(syscall.RUSAGE_SELF)
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
	b.ReportMetric(float64(cpu(syscall.RUSAGE_SELF)-began)/float64(i*n), "cpu-ns/entry")
	b.ReportMetric(float64(b.Elapsed())/float64(i*n), "ns/entry")
	if got := received.Load(); got != int64(i*n) {
		b.Fatalf("%d entries of %d", got, i*n)
	}
}

// BenchmarkProcesses is BenchmarkSend with the second member in a process of its own, as members are.
func BenchmarkProcesses(b *testing.B) {
	for _, c := range []struct{ n, window int }{{1, 1}, {1, 8}, {20, 4}} {
		b.Run(fmt.Sprintf("entries=%d/window=%d", c.n, c.window), func(b *testing.B) {
			if addr := os.Getenv("PEER_BENCHMARK_OF"); addr != "" {
				echo(b, addr)
				return
			}
			heap = make([]byte, 256<<20)
			defer func() { heap = nil }()
			answers := make(chan struct{}, c.window)
			a := newTestMember(b, 1, func(*raftpb.Message) { answers <- struct{}{} })
			cmd := exec.Command(os.Args[0], "-test.run", "^$", "-test.bench", "^BenchmarkProcesses$", "-test.benchtime", "1x")
			cmd.Env = append(os.Environ(), "PEER_BENCHMARK_OF="+a.url)
			in, err := cmd.StdinPipe()
			require.NoError(b, err)
			out, err := cmd.StdoutPipe()
			require.NoError(b, err)
			require.NoError(b, cmd.Start())
			var url string
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if url = lines.Text(); strings.HasPrefix(url, "http://") {
					break
				}
			}
			a.t.SetPeers([]cluster.Member{{ID: 2, PeerURLs: []string{url}}})
			a.awaitStreams(b, 2)
			time.Sleep(100 * time.Millisecond)
			msgs := appMessages(1, 2, 1024, c.n, 300)
			for range c.window {
				answers <- struct{}{}
			}
			began := cpu(syscall.RUSAGE_SELF)
			i := 0
			for b.Loop() {
				<-answers
				a.t.Send(msgs[i%len(msgs) : i%len(msgs)+1])
				i++
			}
			b.StopTimer()
			own := cpu(syscall.RUSAGE_SELF) - began
			_ = in.Close()
			_ = cmd.Wait()
			b.ReportMetric(float64(own)/float64(i), "cpu-ns/message")
			b.ReportMetric(float64(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())/float64(i), "other-cpu-ns/message")
		})
	}
}

// echo is the second member's process.
func echo(b *testing.B, addr string) {
	heap = make([]byte, 256<<20)
	z := newTestMember(b, 2, nil)
	z.onProcess = func(m *raftpb.Message) {
		z.t.Send([]*raftpb.Message{{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: m.Term, Index: m.Index}})
	}
	z.t.SetPeers([]cluster.Member{{ID: 1, PeerURLs: []string{addr}}})
	fmt.Println("\n" + z.url)
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
