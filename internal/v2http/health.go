package v2http

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/wire"
)

// condition is the body of /health. Health is a string because monitors compare it with one.
type condition struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

// health answers GET /health: alarms, then the leader, then a read (v3-gateway-http.md section 4.1).
func (a *API) health(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	reason := a.ill(r.Context(), q["exclude"], q.Get("serializable") == "true")
	body := condition{Health: "true"}
	if reason != "" {
		body = condition{Health: "false", Reason: reason}
	}
	b, err := json.Marshal(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if reason != "" {
		a.metrics.unhealthy.Inc()
		a.cfg.Logger.Warn("serving /health false", "reason", reason)
		http.Error(w, string(b), http.StatusServiceUnavailable)
		return
	}
	a.metrics.healthy.Inc()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(b)
}

// ill returns why the member is not healthy, "" if it is.
func (a *API) ill(ctx context.Context, excluded []string, serializable bool) string {
	for _, alarm := range a.View().Alarms {
		if slices.Contains(excluded, alarm.Type.String()) {
			continue
		}
		switch alarm.Type {
		case pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT:
			return "ALARM " + alarm.Type.String()
		}
		return "ALARM UNKNOWN"
	}
	if !serializable && a.Failed() == nil && a.Leader() == 0 {
		return "RAFT NO LEADER"
	}
	if err := a.readOne(ctx, serializable); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// readOne reads one key, as a client would.
func (a *API) readOne(ctx context.Context, serializable bool) error {
	if !serializable {
		// A member whose log cannot be written still reads, but is of no use to whoever asks for its health.
		if err := a.Failed(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, a.RequestTimeout())
		defer cancel()
		if err := a.Read(ctx); err != nil {
			return err
		}
	}
	_, err := a.View().KV.Range(&wire.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1})
	return err
}
