package v2http

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/watch"
)

// Appends are the figures of the append messages between members.
type Appends struct {
	Sent, Received Traffic
	Followers      map[cluster.ID]Follower
}

// Traffic is how many messages there were, and how many come in a second, and bytes; 0 if that is not known.
type Traffic struct {
	Count           uint64
	Rate, Bandwidth float64
}

// Follower is how sending to a member goes.
type Follower struct {
	Latency Latency `json:"latency"`
	Counts  Outcome `json:"counts"`
}

// Latency is how long it takes to write a message, in milliseconds.
type Latency struct {
	Current   float64 `json:"current"`
	Average   float64 `json:"average"`
	Deviation float64 `json:"standardDeviation"`
	Minimum   float64 `json:"minimum"`
	Maximum   float64 `json:"maximum"`
}

// Outcome is how many messages were written, and how many were not.
type Outcome struct {
	Fail    uint64 `json:"fail"`
	Success uint64 `json:"success"`
}

// Cluster is what the statistics need of the member beside its state.
type Cluster interface {
	Paths() *watch.Paths
	// LeaderSince is when this member first saw the present leader.
	LeaderSince() time.Time
}

// Stats serves /v2/stats (v2-http.md section 12).
type Stats struct {
	Backend
	cluster Cluster
	appends func() Appends
	name    string
	started time.Time
	reads   *readCounts // that Keys has served
}

// NewStats makes the handler.
func NewStats(b Backend, c Cluster, appends func() Appends, k *Keys, name string, started time.Time) *Stats {
	return &Stats{Backend: b, cluster: c, appends: appends, reads: &k.reads, name: name, started: started}
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
	lead := s.Leader()
	state := "StateFollower"
	switch {
	case s.IsLeader():
		state = "StateLeader"
	case lead == 0:
		state = "StateCandidate"
	}
	info := leaderInfo{Uptime: "0s"}
	if since := s.cluster.LeaderSince(); lead != 0 && !since.IsZero() {
		info = leaderInfo{lead.String(), time.Since(since).String(), since}
	}
	a := s.appends()
	bare(w, struct {
		Name              string     `json:"name"`
		ID                string     `json:"id"`
		State             string     `json:"state"`
		StartTime         time.Time  `json:"startTime"`
		Leader            leaderInfo `json:"leaderInfo"`
		Received          uint64     `json:"recvAppendRequestCnt"`
		ReceivedRate      float64    `json:"recvPkgRate,omitempty"`
		ReceivedBandwidth float64    `json:"recvBandwidthRate,omitempty"`
		Sent              uint64     `json:"sendAppendRequestCnt"`
		SentRate          float64    `json:"sendPkgRate,omitempty"`
		SentBandwidth     float64    `json:"sendBandwidthRate,omitempty"`
	}{s.name, s.MemberID().String(), state, s.started, info, a.Received.Count, a.Received.Rate, a.Received.Bandwidth,
		a.Sent.Count, a.Sent.Rate, a.Sent.Bandwidth})
}

func (s *Stats) ofLeader(w http.ResponseWriter) {
	if !s.IsLeader() {
		message(w, http.StatusForbidden, "not current leader")
		return
	}
	out := struct {
		Leader    string              `json:"leader"`
		Followers map[string]Follower `json:"followers"`
	}{s.MemberID().String(), map[string]Follower{}}
	followers := s.appends().Followers
	for _, m := range s.View().Cluster.Members() {
		if m.ID != s.MemberID() {
			out.Followers[m.ID.String()] = followers[m.ID]
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
	b = fmt.Appendf(b, `"expireCount":%d,"watchers":%d}`, st.Expired, s.cluster.Paths().Len())
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
