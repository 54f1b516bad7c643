package host

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/wire"
)

// rig is a host over a disk in memory, in a bubble of its own time.
type rig struct {
	t    *testing.T
	disk *vfs.Memory
	fs   *vfs.Faults
	eng  *mem.Engine
	h    *Host
	// Whom the host asks, if anybody.
	others Others
	// What connects it to others, if anything.
	connect func(*Host) Transport
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := prepareRig(t, "a")
	r.start()
	r.awaitReady()
	return r
}

// prepareRig makes the disk of the first of some members.
func prepareRig(t *testing.T, names ...string) *rig {
	t.Helper()
	r := &rig{t: t, disk: vfs.NewMemory(), eng: mem.New()}
	var members []cluster.Member
	for _, name := range names {
		m := cluster.Member{PeerURLs: []string{"http://" + name + ":2380"}, Name: name}
		m.ID = cluster.MemberID(m.PeerURLs, "test", 0)
		members = append(members, m)
	}
	me := members[0]
	entries, err := cluster.BootstrapEntries(members)
	require.NoError(t, err)
	require.NoError(t, r.disk.MkdirAll("d", 0o700))
	require.NoError(t, vfs.SyncDir(r.disk, ""))
	log, err := wal.Create(r.disk, "d/wal", wal.Metadata{NodeID: uint64(me.ID), ClusterID: 9}, wal.Options{})
	require.NoError(t, err)
	require.NoError(t, log.Append(&raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(len(entries)))}, entries, true))
	require.NoError(t, log.Close())
	return r
}

func (r *rig) start() {
	r.t.Helper()
	r.fs = vfs.NewFaults(r.disk, 1)
	log, rec, err := wal.Open(r.fs, "d/wal", wal.Options{})
	require.NoError(r.t, err)
	m, err := machine.Open(machine.Config{MinLeaseTTLSeconds: 2}, r.eng)
	require.NoError(r.t, err)
	r.h, err = Start(Config{MemberID: cluster.ID(rec.Metadata.NodeID), ClusterID: 9, Name: "a", ClientURLs: []string{"http://a:2379"},
		Version: "3.7.0", Tick: 100 * time.Millisecond, ElectionTicks: 10, PreVote: true, MaxRequestBytes: 1 << 20, DataDir: "d", FS: r.fs,
		Machine: m, Log: log, Recovered: rec, Logger: slog.New(slog.NewJSONHandler(io.Discard, nil)), Metrics: NewMetrics(prometheus.NewRegistry()), Others: r.others, Connect: r.connect})
	require.NoError(r.t, err)
}

// crash takes the power away: what was not synced is lost.
func (r *rig) crash() {
	r.t.Helper()
	disk, eng := r.disk.Crash(1, vfs.Loss{}), r.eng.Crash()
	_ = r.h.Stop()
	r.disk, r.eng = disk, eng
	r.start()
	r.awaitReady()
}

func (r *rig) awaitReady() {
	r.t.Helper()
	select {
	case <-r.h.Ready():
	case <-time.After(10 * time.Second):
		r.t.Fatal("the host does not get ready")
	}
}

func (r *rig) put(key, value string) error {
	_, err := r.h.ProposeMessage(context.Background(), wire.KindPut, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	return err
}

func (r *rig) get(key string) string {
	r.t.Helper()
	require.NoError(r.t, r.h.Read(context.Background()))
	kv := r.h.KV().Get(key)
	if kv == "" {
		return ""
	}
	return kv.Fields().Value
}

func TestAcknowledgedWritesSurviveACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { require.NoError(t, r.h.Stop()) }()
		for i := range 50 {
			require.NoError(t, r.put(fmt.Sprint(i%7), fmt.Sprint(i)))
			if i%20 == 10 {
				r.crash()
			}
		}
		r.crash()
		for i := 43; i < 50; i++ {
			require.Equal(t, fmt.Sprint(i), r.get(fmt.Sprint(i%7)))
		}
		require.EqualValues(t, 51, r.h.KV().Rev())
	})
}

// While one sync is under way, all writes that come gather for the next.
func TestOneSyncServesAllThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { require.NoError(t, r.h.Stop()) }()
		r.fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "wal", Delay: 50 * time.Millisecond})
		before, began := r.fs.Count(vfs.OpSync), time.Now()
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() { require.NoError(t, r.put(fmt.Sprint(i), "v")) })
		}
		wg.Wait()
		require.LessOrEqual(t, r.fs.Count(vfs.OpSync)-before, 3)
		require.Less(t, time.Since(began), 200*time.Millisecond)
	})
}

// A disk that does not answer holds no read up, and a write that waits longer than the request timeout is told so.
func TestStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { require.NoError(t, r.h.Stop()) }()
		require.NoError(t, r.put("k", "1"))
		r.fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "wal", Delay: time.Minute, Times: 1})
		began := time.Now()
		done := make(chan error, 1)
		go func() { done <- r.put("k", "2") }()
		time.Sleep(time.Second)
		require.Equal(t, "1", r.get("k"))
		require.Equal(t, time.Second, time.Since(began))
		require.Equal(t, wire.ErrTimeout, <-done)
		require.LessOrEqual(t, time.Since(began), r.h.RequestTimeout()+leaseScan)
		time.Sleep(2 * time.Minute)
		require.Equal(t, "2", r.get("k"), "the outcome was open: it may have taken effect")
	})
}

func TestFailedLogStopsWritesAndReadsGoOn(t *testing.T) {
	for name, c := range map[string]struct {
		rule vfs.Rule
		want string
	}{
		"sync":      {vfs.Rule{Op: vfs.OpSync, Path: "wal", Err: syscall.EIO}, "the log cannot be written"},
		"write":     {vfs.Rule{Op: vfs.OpWrite, Path: "wal", Err: syscall.EIO, Partial: true}, "the log cannot be written"},
		"full disk": {vfs.Rule{Op: vfs.OpWrite, Path: "wal", Err: syscall.ENOSPC}, "database space exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				require.NoError(t, r.put("k", "1"))
				r.fs.Add(c.rule)
				require.ErrorContains(t, r.put("k", "2"), c.want)
				r.fs.Clear() // the disk is well again, but nobody knows what is on it
				require.ErrorContains(t, r.put("k", "3"), c.want)
				require.Equal(t, "1", r.get("k"))
				require.Error(t, r.h.Failed())
				r.crash()
				require.NoError(t, r.h.Failed())
				require.Contains(t, []string{"1", "2"}, r.get("k"))
				require.NoError(t, r.put("k", "4"))
				require.NoError(t, r.h.Stop())
			})
		})
	}
}

// A member among others that cannot write learns of nothing any more. Who asks it is told so at once, and can go on with
// another one.
func TestFailedMemberAmongOthersIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prepareRig(t, "a", "b", "c")
		r.start()
		defer func() { require.NoError(t, r.h.Stop()) }()
		lead := cluster.MemberID([]string{"http://b:2380"}, "test", 0)
		hear := func(m *raftpb.Message) {
			m.From, m.To, m.Term = new(uint64(lead)), new(uint64(r.h.MemberID())), new(uint64(2))
			require.NoError(t, r.h.Process(t.Context(), m))
			synctest.Wait()
		}
		hear(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), Commit: new(uint64(0))})
		require.Equal(t, lead, r.h.Leader())
		waits := make(chan error, 1)
		go func() { waits <- r.h.Read(t.Context()) }()
		synctest.Wait()
		r.fs.Add(vfs.Rule{Op: vfs.OpWrite, Path: "wal", Err: syscall.ENOSPC})
		hear(&raftpb.Message{Type: raftpb.MsgApp.Enum(), Index: new(uint64(3)), LogTerm: new(uint64(1)), Commit: new(uint64(3)),
			Entries: []*raftpb.Entry{{Index: new(uint64(4)), Term: new(uint64(2))}}})
		require.Error(t, r.h.Failed())
		began := time.Now()
		for _, err := range []error{<-waits, r.h.Read(t.Context())} {
			require.Equal(t, codes.Unavailable, status.Code(err))
			require.ErrorContains(t, err, "cannot follow the others: etcdserver: mvcc: database space exceeded")
		}
		require.Zero(t, time.Since(began))
		require.Zero(t, r.h.Leader())
	})
}

// forgetful is a leader that has no lease.
type forgetful struct{ Others }

func (forgetful) Renew(context.Context, string, int64) (int64, error) { return 0, nil }

func (forgetful) TimeToLive(context.Context, string, int64, bool) (*pb.LeaseTimeToLiveResponse, error) {
	return nil, wire.ErrLeaseNotFound
}

// That the leader has no such lease is an answer, and no error.
func TestFollowerLearnsThatALeaseIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prepareRig(t, "a", "b", "c")
		r.others = forgetful{}
		r.start()
		defer func() { require.NoError(t, r.h.Stop()) }()
		lead := cluster.MemberID([]string{"http://b:2380"}, "test", 0)
		require.NoError(t, r.h.Process(t.Context(), &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(lead)),
			To: new(uint64(r.h.MemberID())), Term: new(uint64(2)), Commit: new(uint64(0))}))
		synctest.Wait()
		require.Equal(t, lead, r.h.Leader())
		_, known, err := r.h.Remaining(t.Context(), 7)
		require.NoError(t, err)
		require.False(t, known)
		ttl, err := r.h.Renew(t.Context(), 7)
		require.NoError(t, err)
		require.Zero(t, ttl)
	})
}

func TestLeaseEndsThroughTheLogAndAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { require.NoError(t, r.h.Stop()) }()
		ctx := context.Background()
		grant := func(id, ttl int64) {
			_, err := r.h.ProposeMessage(ctx, wire.KindLeaseGrant, &pb.LeaseGrantRequest{ID: id, TTL: ttl})
			require.NoError(t, err)
			_, err = r.h.ProposeMessage(ctx, wire.KindPut, &pb.PutRequest{Key: fmt.Append(nil, id), Lease: id})
			require.NoError(t, err)
		}
		grant(1, 10)
		grant(2, 10)
		grant(3, 1000)
		for range 6 {
			time.Sleep(5 * time.Second)
			ttl, err := r.h.Renew(ctx, 2)
			require.NoError(t, err)
			require.EqualValues(t, 10, ttl)
		}
		require.EqualValues(t, 2, r.h.KV().Count(wire.ParseRange([]byte("\x00"), []byte("\x00"))), "lease 1 is over, its key is gone")
		_, known, err := r.h.Remaining(ctx, 1)
		require.NoError(t, err)
		require.False(t, known)
		r.crash()
		left, known, err := r.h.Remaining(ctx, 3)
		require.NoError(t, err)
		require.True(t, known)
		require.InDelta(t, 970, left.Seconds(), 35) // one interval between checkpoints
		require.GreaterOrEqual(t, left, 970*time.Second-leaseScan)
		// A renewal that comes when the time is over waits for the revoke and is told that the lease is gone.
		left, _, err = r.h.Remaining(ctx, 2)
		require.NoError(t, err)
		time.Sleep(left)
		ttl, err := r.h.Renew(ctx, 2)
		require.NoError(t, err)
		require.Zero(t, ttl)
		require.EqualValues(t, 1, r.h.KV().Count(wire.ParseRange([]byte("\x00"), []byte("\x00"))))
	})
}

func TestCompactionGoesOnBesideWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer func() { require.NoError(t, r.h.Stop()) }()
		for i := range 3000 {
			require.NoError(t, r.put(fmt.Sprint(i%10), fmt.Sprint(i)))
		}
		rev := r.h.KV().Rev()
		_, err := r.h.ProposeMessage(context.Background(), wire.KindCompaction, &pb.CompactionRequest{Revision: rev})
		require.NoError(t, err)
		require.NoError(t, r.put("during", "x"))
		require.NoError(t, r.h.AwaitCompaction(context.Background(), rev))
		_, compacted, ok := r.h.CompactHash(rev)
		require.True(t, ok)
		require.EqualValues(t, -1, compacted)
		n := 0
		require.NoError(t, r.eng.Scan(1, nil, nil, func(_, _ []byte) bool { n++; return true }))
		require.Equal(t, 11, n)
		// A crash in the midst of one: it is finished after the restart.
		for i := range 3000 {
			require.NoError(t, r.put(fmt.Sprint(i%10), fmt.Sprint(i)))
		}
		rev = r.h.KV().Rev()
		_, err = r.h.ProposeMessage(context.Background(), wire.KindCompaction, &pb.CompactionRequest{Revision: rev})
		require.NoError(t, err)
		r.crash()
		require.NoError(t, r.h.AwaitCompaction(context.Background(), rev))
		n = 0
		require.NoError(t, r.eng.Scan(1, nil, nil, func(_, _ []byte) bool { n++; return true }))
		require.Equal(t, 11, n)
	})
}

// Writes are refused while what was agreed on is far ahead of what was applied (v3-grpc.md section 1).
func TestFarBehindRefusesWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		require.NoError(t, r.put("k", "v"))
		applied := r.h.View().Applied
		r.h.commit.Store(applied + maxApplyGap + 1)
		require.Equal(t, wire.ErrTooManyRequests, r.put("k", "v"))
		r.h.commit.Store(applied + maxApplyGap)
		require.NoError(t, r.put("k", "v"))
		require.NoError(t, r.h.Stop())
	})
}

func TestBoundsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		require.Equal(t, wire.ErrRequestTooLarge, r.put("k", string(make([]byte, 1<<20))))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := r.h.ProposeMessage(ctx, wire.KindPut, &pb.PutRequest{Key: []byte("k")})
		require.ErrorIs(t, err, context.Canceled)

		// The queue is full while the disk stalls: further writes are refused at once.
		r.fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "wal", Delay: 3 * time.Second, Times: 1})
		go func() { _ = r.put("stall", "x") }()
		time.Sleep(time.Millisecond)
		value := string(make([]byte, 1<<19))
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := map[string]int{}
		for range maxQueueBytes>>19 + 50 {
			wg.Go(func() {
				if err := r.put("big", value); err != nil {
					mu.Lock()
					refused[status.Convert(err).Message()]++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(t, refused, 1)
		require.GreaterOrEqual(t, refused[status.Convert(wire.ErrTooManyRequests).Message()], 50)

		view, state, err := r.h.Snapshot(context.Background())
		require.NoError(t, err)
		require.Equal(t, r.h.View(), state)
		view.Release()

		done := make(chan error, 1)
		r.fs.Add(vfs.Rule{Op: vfs.OpSync, Path: "wal", Delay: 3 * time.Second, Times: 1})
		go func() { done <- r.put("late", "x") }()
		time.Sleep(time.Millisecond)
		require.NoError(t, r.h.Stop())
		require.Equal(t, wire.ErrStopped, <-done)
		require.Equal(t, wire.ErrStopped, r.put("k", "v"))
		require.NoError(t, r.h.Stop(), "a second stop does nothing")
		_, _, err = r.h.Snapshot(context.Background())
		require.ErrorIs(t, err, ErrStopping)
	})
}
