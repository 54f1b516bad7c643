package doctor

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Finding is one thing that is wrong, or about to be.
type Finding struct {
	Severe bool   `json:"severe"` // the cluster does not do what it should, or is one step from it
	Where  string `json:"where"`  // a member, or "cluster"
	What   string `json:"what"`
	Advice string `json:"advice"`
}

// Limits above which something is wrong.
const (
	clockLimit  = time.Second
	syncLimit   = 0.1  // seconds at p99: as long as a heartbeat
	syncUneasy  = 0.01 // what etcd recommends to stay below
	roundTrip   = 0.05 // seconds
	quotaLimit  = 0.8  // of the quota
	diskLimit   = 1 << 30
	applyLimit  = 5000 // entries
	behindLimit = 5000
	certLimit   = 30 * 24 * time.Hour
)

// Judge names what the visits show to be wrong, the severe first. now is the visitor's time.
func Judge(visits []Visit, now time.Time) []Finding {
	j := &judge{visits: visits, now: now, names: map[string]string{}}
	for _, v := range visits {
		if v.Report != nil {
			j.reports = append(j.reports, v.Report)
		}
	}
	for _, r := range j.reports {
		for _, m := range r.Members {
			if m.Name != "" {
				j.names[m.ID] = m.Name
			}
		}
	}
	j.reachable()
	j.leader()
	j.quorum()
	j.network()
	j.clocks()
	j.versions()
	j.alarms()
	for _, v := range visits {
		if v.Report != nil {
			j.member(v.Report)
		}
		if left := v.CertEnds.Sub(now); !v.CertEnds.IsZero() && left < certLimit {
			j.add(left < 0, v.Endpoint, fmt.Sprintf("its certificate ends on %s", v.CertEnds.Format(time.DateOnly)), "renew it; the member reads it anew by itself")
		}
	}
	sort.SliceStable(j.found, func(a, b int) bool { return j.found[a].Severe && !j.found[b].Severe })
	return j.found
}

type judge struct {
	visits  []Visit
	reports []*Report
	names   map[string]string // of members, by ID
	now     time.Time
	found   []Finding
}

func (j *judge) add(severe bool, where, what, advice string) {
	j.found = append(j.found, Finding{severe, where, what, advice})
}

func (j *judge) name(id string) string {
	if n := j.names[id]; n != "" {
		return fmt.Sprintf("member %s (%s)", n, id)
	}
	return "member " + id
}

func (j *judge) reachable() {
	for _, v := range j.visits {
		if v.Report == nil {
			j.add(true, v.Endpoint, fmt.Sprintf("does not answer: %v", v.Err), "see whether the process runs, and whether it can be reached from here")
		}
	}
	clusters := map[string][]string{}
	for _, r := range j.reports {
		clusters[r.Cluster] = append(clusters[r.Cluster], j.name(r.Member))
	}
	if len(clusters) > 1 {
		j.add(true, "cluster", fmt.Sprintf("the endpoints belong to %d different clusters", len(clusters)), "check --endpoints")
	}
}

func (j *judge) leader() {
	leaders := map[string][]string{}
	for _, r := range j.reports {
		if r.Leader == "" {
			j.add(true, j.name(r.Member), "knows of no leader", "see which members it cannot reach; without a majority nobody can lead")
			continue
		}
		leaders[r.Leader] = append(leaders[r.Leader], j.name(r.Member))
	}
	if len(leaders) > 1 {
		var parts []string
		for id, who := range leaders {
			parts = append(parts, fmt.Sprintf("%s: %s", j.name(id), strings.Join(who, ", ")))
		}
		slices.Sort(parts)
		j.add(false, "cluster", "members name different leaders: "+strings.Join(parts, "; "), "an election may be under way; if it stays so, the network is parted")
	}
}

func (j *judge) quorum() {
	if len(j.reports) == 0 {
		return
	}
	voters, learners := 0, 0
	for _, m := range j.reports[0].Members {
		if m.Learner {
			learners++
		} else {
			voters++
		}
		if m.Name == "" {
			j.add(false, j.name(m.ID), "was added and has never been started", "start it, or remove it: it counts for the majority")
		}
	}
	switch voters {
	case 0, 1:
	case 2:
		j.add(false, "cluster", "there are two voting members: if one fails, nothing can be written", "add a third")
	default:
		if voters%2 == 0 {
			j.add(false, "cluster", fmt.Sprintf("there are %d voting members, which bear no more failures than %d", voters, voters-1), "run an odd number")
		}
	}
}

// network compares what members see of each other: a connection that works in one direction only is the worst to find.
func (j *judge) network() {
	sees := map[[2]string]Peer{}
	for _, r := range j.reports {
		for _, p := range r.Peers {
			sees[[2]string{r.Member, p.ID}] = p
		}
	}
	for _, r := range j.reports {
		for _, p := range r.Peers {
			back, known := sees[[2]string{p.ID, r.Member}]
			switch {
			case !p.Active && known && back.Active:
				j.add(true, j.name(r.Member), fmt.Sprintf("cannot reach %s, which can reach it: the network works one way only (%s)", j.name(p.ID), p.LastError),
					"check routes and firewalls between the two")
			case !p.Active && (!known || r.Member < p.ID):
				j.add(true, j.name(r.Member), fmt.Sprintf("is not connected with %s (%s)", j.name(p.ID), p.LastError), "see whether it runs, and whether its peer URLs are right")
			case p.Active && p.RoundTrip > roundTrip:
				j.add(false, j.name(r.Member), fmt.Sprintf("needs %.0f ms to %s and back", p.RoundTrip*1000, j.name(p.ID)),
					"set --heartbeat-interval to about the round trip, and --election-timeout to ten times that")
			}
		}
	}
}

func (j *judge) clocks() {
	type clock struct {
		who string
		lag time.Duration
	}
	var all []clock
	for _, v := range j.visits {
		if v.Report != nil {
			all = append(all, clock{j.name(v.Report.Member), v.ClockLag})
			if lag := v.ClockLag.Abs(); lag > clockLimit+v.Took && len(j.reports) == 1 {
				j.add(false, j.name(v.Report.Member), fmt.Sprintf("its clock differs from the one here by %v", lag.Round(time.Millisecond)), "run a time service")
			}
		}
	}
	for i, a := range all {
		for _, b := range all[i+1:] {
			if d := (a.lag - b.lag).Abs(); d > clockLimit {
				j.add(false, "cluster", fmt.Sprintf("the clocks of %s and %s differ by %v", a.who, b.who, d.Round(time.Millisecond)), "run a time service on both")
			}
		}
	}
}

func (j *judge) versions() {
	servers := map[string][]string{}
	for _, r := range j.reports {
		servers[r.Version] = append(servers[r.Version], j.name(r.Member))
	}
	if len(servers) > 1 {
		var parts []string
		for v, who := range servers {
			parts = append(parts, fmt.Sprintf("%s: %s", v, strings.Join(who, ", ")))
		}
		slices.Sort(parts)
		j.add(false, "cluster", "members run different versions: "+strings.Join(parts, "; "), "finish the upgrade; what the later version can do more is off until then")
	}
}

func (j *judge) alarms() {
	seen := map[string]bool{}
	for _, r := range j.reports {
		for _, a := range r.Alarms {
			if seen[a] {
				continue
			}
			seen[a] = true
			advice := "find the cause, then `alarm disarm`"
			switch {
			case strings.HasPrefix(a, "NOSPACE"):
				advice = "compact and delete what is not needed, `defrag`, then `alarm disarm`; or raise --quota-backend-bytes"
			case strings.HasPrefix(a, "CORRUPT"):
				advice = "let the member heal from the others with `member heal`"
			}
			j.add(true, "cluster", "alarm "+a, advice)
		}
	}
}

func (j *judge) member(r *Report) {
	who := j.name(r.Member)
	if r.Failure != "" {
		j.add(true, who, "cannot write: "+r.Failure, "remove the cause and restart it")
	}
	switch {
	case r.Sync.P99 > syncLimit:
		j.add(true, who, fmt.Sprintf("its disk is slow: of %d syncs in the last minute, one in a hundred took over %.0f ms, the longest %.0f ms", r.Sync.Count, r.Sync.P99*1000, r.Sync.Longest*1000),
			"give the log a disk of its own (--wal-dir), or a faster one")
	case r.Sync.P99 > syncUneasy:
		j.add(false, who, fmt.Sprintf("its disk is not fast: one sync in a hundred took over %.0f ms", r.Sync.P99*1000), "a disk for the log should sync in less than 10 ms")
	}
	if r.Quota > 0 && float64(r.InUse) > quotaLimit*float64(r.Quota) {
		j.add(false, who, fmt.Sprintf("its database uses %d %% of the quota", 100*r.InUse/r.Quota), "compact (--auto-compaction-retention), or raise --quota-backend-bytes")
	}
	if r.DiskFree > 0 && r.DiskFree < diskLimit {
		j.add(r.DiskFree < diskLimit/4, who, fmt.Sprintf("its disk has %d MiB left", r.DiskFree>>20), "make room: writes are refused when it is nearly full")
	}
	if r.Commit > r.Applied+applyLimit {
		j.add(false, who, fmt.Sprintf("is %d entries behind with applying what is committed", r.Commit-r.Applied), "see whether its processors or its disk are overloaded")
	}
	for _, l := range j.reports {
		if l.IsLeader && l.Applied > r.Applied+behindLimit {
			j.add(false, who, fmt.Sprintf("is %d entries behind the leader", l.Applied-r.Applied), "it may be catching up; if the distance grows, it is too slow")
		}
	}
	if r.Learner {
		j.add(false, who, "is a learner: it has no vote", "promote it with `member promote` once it has caught up")
	}
}
