//go:build linux

package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/test/process"
)

var disksHold = []struct {
	name string
	own  onDisk
}{{"log and database", everything}, {"log", onlyLog}}

// A leader whose disk hangs gives up, and others go on.
func TestLeadersDiskHangs(t *testing.T) {
	for _, c := range disksHold {
		t.Run(c.name, func(t *testing.T) {
			s := stage(t, c.own)
			s.load = startLoad(s, among)
			time.Sleep(500 * time.Millisecond)
			lead := s.Leader()
			others := s.Others(lead)
			gaveUp := s.watchGaveUp(lead)
			from := s.now()
			s.disks[lead].freeze()
			measured(t, "leader's disk hangs ("+c.name+"): it gives up", giveUp, gaveUp())
			s.resumed(others...)
			measured(t, "leader's disk hangs ("+c.name+"): writes resume", giveUp+500*time.Millisecond, s.now()-from)
			time.Sleep(4*time.Second - (s.now() - from))
			measured(t, "leader's disk hangs ("+c.name+"): longest gap in the others' writes", giveUp+500*time.Millisecond, s.load.gap(from, s.now(), others...))
			s.disks[lead].thaw()
			measured(t, "leader's disk hung, and answers: writes through it", time.Second, s.resumed(lead))
			s.end()
		})
	}
}

// A leader whose disk takes 200 ms for each write, and a follower with such a disk.
func TestDiskIsSlow(t *testing.T) {
	const takes = 200 * time.Millisecond
	for _, c := range disksHold {
		t.Run(c.name, func(t *testing.T) {
			s := stage(t, c.own)
			s.load = startLoad(s, among)
			lead := s.Leader()
			others := s.Others(lead)
			from := s.now()
			time.Sleep(2 * time.Second)
			before := s.load.writeTimes(from, s.now(), s.Members...)
			gaveUp := s.watchGaveUp(lead)
			stop := s.disks[lead].slow(takes, 0)
			measured(t, "leader's disk takes 200 ms ("+c.name+"): it hands over", giveUp, gaveUp())
			s.resumed(others...)
			time.Sleep(300 * time.Millisecond)

			// Now it is a follower's.
			from = s.now()
			time.Sleep(3 * time.Second)
			during := s.load.writeTimes(from, s.now(), others...)
			longest := s.load.gap(from, s.now(), others...)
			require.NotEqual(t, lead, s.Leader())
			stop()
			usual, now := percentile(before, .99), percentile(during, .99)
			t.Logf("%d writes before, half of them in %v, and %d with a slow follower, half in %v", len(before), percentile(before, .5), len(during), percentile(during, .5))
			measured(t, "all disks as they are: p99 of writes", 0, usual)
			measured(t, "follower's disk takes 200 ms ("+c.name+"): p99 of the others' writes", max(2*usual, 50*time.Millisecond), now)
			measured(t, "follower's disk takes 200 ms ("+c.name+"): longest gap in the others' writes", 500*time.Millisecond, longest)
			s.end()
		})
	}
}

// A disk that is full ends writes with a clear error, or they go on through others. Once there is room again nothing is
// lost.
func TestDiskIsFull(t *testing.T) {
	for _, c := range []struct {
		name   string
		own    onDisk
		leads  bool
		always bool
	}{
		{"follower, log and database", everything, false, true},
		{"leader, log", onlyLog, true, true},
		{"leader, log and database", everything, true, false},
		{"follower, log", onlyLog, false, false},
	} {
		if !c.always && !*long {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := stage(t, c.own)
			s.load = startLoad(s, among)
			time.Sleep(300 * time.Millisecond)
			full := s.Leader()
			if !c.leads {
				full = s.Others(full)[0]
			}
			d := s.disks[full]
			d.fill()
			outcomes := s.pour(s.Others(full)[0], full)
			t.Logf("after the disk of %s was full: %v", full.Name, outcomes)
			al, err := s.outside[s.Others(full)[0]].AlarmList(within(t, patience))
			require.NoError(t, err)
			if len(al.Alarms) == 0 { // it is the only one that cannot write, and says so
				require.Regexp(t, "space exceeded|no space", health(t, full))
				began := time.Now()
				_, err := s.outside[full].Get(within(t, time.Second), "poured/0", clientv3.WithSerializable())
				require.NoError(t, err, "it does not read what it has")
				_, err = pb.NewKVClient(s.outside[full].ActiveConnection()).Range(within(t, patience), &pb.RangeRequest{Key: []byte("poured/0")})
				require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
				measured(t, "disk full ("+c.name+"): a read that it cannot answer fails", time.Second, time.Since(began))
				measured(t, "disk full ("+c.name+"): writes through the others", giveUp, s.resumed(s.Others(full)...))
			}
			d.empty()
			full.Stop()
			full.Start()
			for _, a := range al.Alarms {
				require.Eventually(t, func() bool {
					_, err := s.outside[full].AlarmDisarm(within(t, time.Second), (*clientv3.AlarmMember)(a))
					return err == nil
				}, patience, 100*time.Millisecond)
			}
			s.end()
		})
	}
}

// health is what a member says of its health.
func health(t testing.TB, m *process.Member) string {
	way := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return m.Place.Dial(ctx, addr)
	}}
	resp, err := (&http.Client{Transport: way, Timeout: patience}).Get(m.URL() + "/health")
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// pour writes much through two members until one of them ends it with an error, and returns what it heard. Every error
// has to say that there is no room, or that the call has taken too long.
func (s *scene) pour(ms ...*process.Member) map[string]int {
	s.t.Helper()
	heard := map[string]int{}
	value := strings.Repeat("v", 1<<20)
	refused := 0
	for i := 0; i < 220 && refused < 3; i++ {
		m := ms[i%len(ms)]
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		_, err := s.outside[m].Put(ctx, fmt.Sprint("poured/", i%4), value)
		cancel()
		heard[fmt.Sprintf("%s: %v", m.Name, err)]++
		if err != nil {
			refused++
			known := errors.Is(err, rpctypes.ErrNoSpace) || strings.Contains(err.Error(), "no space") || strings.Contains(err.Error(), "timed out")
			require.True(s.t, known, "%v", err)
		}
	}
	require.Positive(s.t, refused, "nobody has noticed: %v", heard)
	return heard
}
