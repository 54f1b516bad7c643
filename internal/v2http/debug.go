package v2http

import (
	"encoding/json"
	"expvar"
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"

	"golang.org/x/net/trace"
)

func (a *API) debugRoutes(mux *http.ServeMux) {
	mux.HandleFunc("/debug/vars", onlyGet(a.vars))
	if a.cfg.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	if a.cfg.Traces {
		// The functions below the handlers are called, since those of the package itself let only localhost in.
		mux.HandleFunc("/debug/requests", func(w http.ResponseWriter, r *http.Request) { trace.Render(w, r, true) })
		mux.HandleFunc("/debug/events", func(w http.ResponseWriter, r *http.Request) { trace.RenderEvents(w, r, true) })
	}
}

// raftStatus is raft's state in the form of /debug/vars.
type raftStatus struct {
	ID       string         `json:"id"`
	Term     uint64         `json:"term"`
	Vote     string         `json:"vote"`
	Commit   uint64         `json:"commit"`
	Lead     string         `json:"lead"`
	State    string         `json:"raftState"`
	Applied  uint64         `json:"applied"`
	Progress map[string]any `json:"progress"`
	Target   string         `json:"leadtransferee"`
}

// vars answers /debug/vars: the variables of the process and two of the member. Those are written here rather than
// published, because a process may hold several members and publishes a name once.
func (a *API) vars(w http.ResponseWriter, _ *http.Request) {
	v := a.View()
	st := raftStatus{ID: a.MemberID().String(), Term: v.Term, Vote: "0", Commit: a.Committed(), Lead: a.Leader().String(),
		State: "StateFollower", Applied: v.Applied, Progress: map[string]any{}, Target: "0"}
	if a.IsLeader() {
		st.State, st.Vote = "StateLeader", st.ID
	}
	raft, err := json.Marshal(st)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprintf(w, "{\n%q: %s,\n%q: %s", "file_descriptor_limit", strconv.FormatInt(int64(fileLimit()), 10), "raft.status", raft)
	expvar.Do(func(kv expvar.KeyValue) { fmt.Fprintf(w, ",\n%q: %s", kv.Key, kv.Value) })
	fmt.Fprint(w, "\n}\n")
}
