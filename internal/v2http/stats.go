package v2http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/tree"
)

// Stats serves /v2/stats (v2-http.md section 12). What etcd measures of its append messages is measured otherwise here, and
// left out.
type Stats struct {
	Backend
	log     Log
	name    string
	started time.Time
	reads   *readCounts // that Keys has served

	mu     sync.Mutex
	leader cluster.ID // as last seen
	since  time.Time
}

// NewStats makes the handler.
func NewStats(b Backend, l Log, k *Keys, name string, started time.Time) *Stats {
	return &Stats{Backend: b, log: l, reads: &k.reads, name: name, started: started}
}

func (s *Stats) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet) {
		return
	}
	switch strings.TrimPrefix(r.URL.Path, "/v2/stats/") {
	case "self":
		s.self(w)
	case "leader":
		s.ofLeader(w)
	default:
		s.store(w)
	}
}

func bare(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		message(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

func (s *Stats) self(w http.ResponseWriter) {
	type leaderInfo struct {
		Leader    string    `json:"leader"`
		Uptime    string    `json:"uptime"`
		StartTime time.Time `json:"startTime"`
	}
	state, now := "StateFollower", time.Now()
	lead := s.Leader()
	s.mu.Lock()
	if lead != s.leader {
		s.leader, s.since = lead, now
	}
	since := s.since
	s.mu.Unlock()
	info := leaderInfo{Uptime: now.Sub(since).String(), StartTime: since}
	switch {
	case s.IsLeader():
		state = "StateLeader"
	case lead == 0:
		state = "StateCandidate"
	}
	if lead != 0 {
		info.Leader = lead.String()
	} else {
		info.Uptime = "0s"
	}
	bare(w, struct {
		Name      string     `json:"name"`
		ID        string     `json:"id"`
		State     string     `json:"state"`
		StartTime time.Time  `json:"startTime"`
		Leader    leaderInfo `json:"leaderInfo"`
		Received  uint64     `json:"recvAppendRequestCnt"`
		Sent      uint64     `json:"sendAppendRequestCnt"`
	}{s.name, s.MemberID().String(), state, s.started, info, 0, 0})
}

func (s *Stats) ofLeader(w http.ResponseWriter) {
	if !s.IsLeader() {
		message(w, http.StatusForbidden, "not current leader")
		return
	}
	type follower struct {
		Latency struct {
			Current   float64 `json:"current"`
			Average   float64 `json:"average"`
			Deviation float64 `json:"standardDeviation"`
			Minimum   float64 `json:"minimum"`
			Maximum   float64 `json:"maximum"`
		} `json:"latency"`
		Counts struct {
			Fail    uint64 `json:"fail"`
			Success uint64 `json:"success"`
		} `json:"counts"`
	}
	out := struct {
		Leader    string              `json:"leader"`
		Followers map[string]follower `json:"followers"`
	}{s.MemberID().String(), map[string]follower{}}
	for _, m := range s.View().Cluster.Members() {
		if m.ID != s.MemberID() {
			out.Followers[m.ID.String()] = follower{}
		}
	}
	bare(w, out)
}

func (s *Stats) store(w http.ResponseWriter) {
	st := s.View().TreeStats
	gets := s.reads.all()
	b := fmt.Appendf(nil, `{"getsSuccess":%d,"getsFail":%d,`, gets.Success, gets.Fail)
	for _, c := range writesOf(st) {
		name := c.action.String()
		if c.action == tree.Set {
			name = "sets"
		}
		b = fmt.Appendf(b, `"%sSuccess":%d,"%sFail":%d,`, name, c.n.Success, name, c.n.Fail)
	}
	b = fmt.Appendf(b, `"expireCount":%d,"watchers":%d}`, st.Expired, s.log.Paths().Len())
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
