package cairn

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cairn-kv/cairn/internal/doctor"
)

// diagnose is what the member says of itself for `cairn doctor`.
func (s *Server) diagnose() *doctor.Report {
	h, v := s.host, s.host.View()
	size := h.Size()
	n, p99, longest := s.syncs.Last()
	r := &doctor.Report{
		Member: h.MemberID().String(), Name: s.cfg.Name, Cluster: h.ClusterID().String(), Version: Version, ClusterVersion: v.Cluster.Version(),
		Now: time.Now(), IsLeader: h.IsLeader(), Term: v.Term, Commit: h.Committed(), Applied: v.Applied,
		InUse: size.InUse, Size: size.Total, Quota: max(0, s.cfg.quota()), DiskFree: h.DiskFree(),
		Sync: doctor.Sync{Count: n, P99: p99.Seconds(), Longest: longest.Seconds()},
	}
	if id := h.Leader(); id != 0 {
		r.Leader = id.String()
	}
	if err := h.Failed(); err != nil {
		r.Failure = err.Error()
	}
	for _, a := range v.Alarms {
		r.Alarms = append(r.Alarms, fmt.Sprintf("%v of member %s", a.Type, a.Member))
	}
	for _, m := range v.Cluster.Members() {
		r.Members = append(r.Members, doctor.Member{ID: m.ID.String(), Name: m.Name, Learner: m.IsLearner, URLs: m.ClientURLs})
		if m.ID == h.MemberID() {
			r.Learner = m.IsLearner
		}
	}
	for _, p := range s.peers.Peers() {
		if p.Temporary {
			continue
		}
		out := doctor.Peer{ID: p.ID.String(), Active: p.Active, Since: p.ActiveSince, RoundTrip: p.RoundTrip.Seconds(), ClockLag: p.ClockDifference.Seconds()}
		if p.LastError != nil && !p.Active {
			out.LastError = p.LastError.Error()
		}
		r.Peers = append(r.Peers, out)
	}
	return r
}

func (s *Server) serveDiagnosis(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	b, err := json.Marshal(s.diagnose())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}
