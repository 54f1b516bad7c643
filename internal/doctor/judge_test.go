package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// healthy are three members of which all is well.
func healthy() []Visit {
	members := []Member{{ID: "1", Name: "a"}, {ID: "2", Name: "b"}, {ID: "3", Name: "c"}}
	var out []Visit
	for _, m := range members {
		r := &Report{Member: m.ID, Name: m.Name, Cluster: "c", Version: "3.7.3", ClusterVersion: "3.7.0", Now: now, Leader: "1", IsLeader: m.ID == "1",
			Term: 2, Commit: 100, Applied: 100, DiskFree: 100 << 30, InUse: 10, Quota: 1000, Sync: Sync{100, 0.002, 0.004}, Members: members}
		for _, p := range members {
			if p.ID != m.ID {
				r.Peers = append(r.Peers, Peer{ID: p.ID, Active: true, RoundTrip: 0.001})
			}
		}
		out = append(out, Visit{Endpoint: "http://" + m.Name, Report: r, Took: time.Millisecond})
	}
	return out
}

func TestNothingIsWrongWithTheHealthy(t *testing.T) { require.Empty(t, Judge(healthy(), now)) }

func TestWhatIsWrongIsNamed(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(v []Visit)
		want   string
		severe bool
	}{
		{"gone", func(v []Visit) { v[1].Report, v[1].Err = nil, errors.New("refused") }, "http://b: does not answer: refused", true},
		{"no leader", func(v []Visit) { v[2].Report.Leader = "" }, "member c (3): knows of no leader", true},
		{"two leaders", func(v []Visit) { v[2].Report.Leader = "3" }, "members name different leaders", false},
		{"one way", func(v []Visit) { v[1].Report.Peers[0].Active = false }, "member b (2): cannot reach member a (1), which can reach it", true},
		{"parted", func(v []Visit) { v[1].Report.Peers[0].Active, v[0].Report.Peers[0].Active = false, false }, "member a (1): is not connected with member b (2)", true},
		{"far", func(v []Visit) { v[1].Report.Peers[0].RoundTrip = 0.2 }, "needs 200 ms to member a (1) and back", false},
		{"clock", func(v []Visit) { v[1].ClockLag = 3 * time.Second }, "the clocks of member a (1) and member b (2) differ by 3s", false},
		{"disk", func(v []Visit) { v[0].Report.Sync.P99 = 0.3 }, "its disk is slow", true},
		{"uneasy disk", func(v []Visit) { v[0].Report.Sync.P99 = 0.03 }, "its disk is not fast", false},
		{"quota", func(v []Visit) { v[0].Report.InUse = 900 }, "uses 90 % of the quota", false},
		{"room", func(v []Visit) { v[0].Report.DiskFree = 100 << 20 }, "its disk has 100 MiB left", true},
		{"failure", func(v []Visit) { v[0].Report.Failure = "the log cannot be written" }, "cannot write: the log cannot be written", true},
		{"alarm", func(v []Visit) { v[0].Report.Alarms = []string{"CORRUPT of 2"} }, "alarm CORRUPT of 2", true},
		{"versions", func(v []Visit) { v[0].Report.Version = "3.8.0" }, "members run different versions: 3.7.3: member b (2), member c (3); 3.8.0: member a (1)", false},
		{"behind", func(v []Visit) { v[0].Report.Applied, v[0].Report.Commit = 90_000, 90_000 }, "is 89900 entries behind the leader", false},
		{"applying", func(v []Visit) { v[0].Report.Commit = 90_000 }, "behind with applying", false},
		{"learner", func(v []Visit) { v[2].Report.Learner = true }, "is a learner", false},
		{"unstarted", func(v []Visit) { v[0].Report.Members[2].Name = "" }, "has never been started", false},
		{"certificate", func(v []Visit) { v[0].CertEnds = now.Add(24 * time.Hour) }, "its certificate ends on 2026-11-22", false},
		{"ended certificate", func(v []Visit) { v[0].CertEnds = now.Add(-time.Hour) }, "its certificate ends on", true},
		{"two clusters", func(v []Visit) { v[0].Report.Cluster = "d" }, "belong to 2 different clusters", true},
	} {
		v := healthy()
		c.change(v)
		found := Judge(v, now)
		var text []string
		hit := false
		for _, f := range found {
			line := f.Where + ": " + f.What
			text = append(text, line)
			require.NotEmpty(t, f.Advice, line)
			if strings.Contains(line, c.want) {
				hit = true
				require.Equal(t, c.severe, f.Severe, line)
			}
		}
		require.True(t, hit, "%s: %q not in %q", c.name, c.want, text)
	}
	two := healthy()[:2]
	for _, v := range two {
		v.Report.Members = v.Report.Members[:2]
	}
	require.Contains(t, Judge(two, now)[0].What, "two voting members")
}
