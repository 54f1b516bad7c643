package peer

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// S-04: rates are those of the last 200 messages, and of none once the last one is a second old. S-03: one message alone
// has no rate.
func TestTrafficRates(t *testing.T) {
	var tr traffic
	at := time.Unix(1000, 0)
	require.Zero(t, tr.get(at))
	tr.add(1, 10, at)
	require.Equal(t, Traffic{Count: 1}, tr.get(at))
	for i := range 300 {
		tr.add(1, 100, at.Add(time.Duration(i+1)*10*time.Millisecond))
	}
	last := at.Add(3 * time.Second)
	got := tr.get(last)
	require.EqualValues(t, 301, got.Count)
	require.InDelta(t, 200/1.99, got.Rate, 1e-9)
	require.InDelta(t, 200*100/1.99, got.Bandwidth, 1e-6)
	require.NotZero(t, tr.get(last.Add(time.Second)).Rate)
	require.Equal(t, Traffic{Count: 301}, tr.get(last.Add(time.Second+1)))
	tr.add(3, 11, last.Add(2*time.Second))
	require.EqualValues(t, 304, tr.get(last).Count)
}

func TestPaceOfAFollower(t *testing.T) {
	p := &peer{id: 2, t: &Transport{}}
	peers := map[cluster.ID]*peer{2: p}
	p.t.peers.Store(&peers)
	require.Empty(t, p.t.Appends().Followers)
	now := time.Now()
	p.appended(0, 0, now, nil)
	require.Empty(t, p.t.Appends().Followers)
	p.pace.sent(1, 2*time.Millisecond)
	p.pace.sent(3, 6*time.Millisecond)
	p.appended(2, 0, now, errors.New("broken"))
	f := p.t.Appends().Followers[2]
	require.InDelta(t, 1.7320508, f.Deviation, 1e-6)
	f.Deviation = 0
	require.Equal(t, Follower{Success: 4, Fail: 2, Current: 6, Average: 5, Minimum: 2, Maximum: 6}, f)
}

// Both ends count the same append messages, and no others.
func TestAppendsAreCounted(t *testing.T) {
	a, b := newTestMember(t, 1, nil), newTestMember(t, 2, nil)
	connect(t, a, b)
	var all []*raftpb.Message
	for i := range uint64(5) {
		all = append(all, &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Term: new(uint64(1)),
			Index: new(i), LogTerm: new(uint64(1)), Entries: []*raftpb.Entry{entry(i+1, 1, "data")}}, beat(1, 2, 1))
	}
	a.t.Send(all)
	b.await(len(all))
	require.Eventually(t, func() bool { return a.t.Appends().Sent.Count == 5 }, 5*time.Second, time.Millisecond)
	require.EqualValues(t, 5, b.t.Appends().Received.Count)
	require.Zero(t, a.t.Appends().Received.Count)
	f := a.t.Appends().Followers[2]
	require.EqualValues(t, 5, f.Success)
	require.Zero(t, f.Fail)
	require.Positive(t, f.Minimum)
	require.Empty(t, b.t.Appends().Followers)
}
