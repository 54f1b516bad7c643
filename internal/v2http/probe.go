package v2http

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// check is one question that a probe asks. Its names are contract: probes exclude them, dashboards show them.
type check struct {
	name string
	run  func(context.Context) error
}

func (a *API) serializableRead() check {
	return check{"serializable_read", func(ctx context.Context) error { return a.readOne(ctx, true) }}
}

// livez are the checks that tell whether the process should be restarted.
func (a *API) livez() []check { return []check{a.serializableRead()} }

// readyz are the checks that tell whether the member should be sent traffic.
func (a *API) readyz() []check {
	return []check{
		{"data_corruption", a.notCorrupt},
		a.serializableRead(),
		{"linearizable_read", func(ctx context.Context) error { return a.readOne(ctx, false) }},
		{"non_learner", a.notLearner},
	}
}

func (a *API) notCorrupt(context.Context) error {
	for _, alarm := range a.View().Alarms {
		if alarm.Type == pb.AlarmType_CORRUPT {
			return errors.New("alarm activated: CORRUPT")
		}
	}
	return nil
}

func (a *API) notLearner(context.Context) error {
	if me, ok := a.View().Cluster.Member(a.MemberID()); ok && me.IsLearner {
		return errors.New("not supported for learner")
	}
	return nil
}

// probe adds /<kind> with all checks, and each check under its own name below it.
func (a *API) probe(mux *http.ServeMux, kind string, checks []check) {
	a.metrics.declare(kind, checks)
	mux.HandleFunc("/"+kind, onlyGet(a.ask(kind, checks)))
	for _, c := range checks {
		mux.HandleFunc("/"+kind+"/"+c.name, onlyGet(a.ask(kind, []check{c})))
	}
}

// ask runs the checks that are not excluded. A failure always lists all of them.
func (a *API) ask(kind string, checks []check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		excluded := q["exclude"]
		for _, name := range excluded {
			if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
				a.cfg.Logger.Warn("some health checks cannot be excluded", "path", r.URL.Path, "missing-health-check", name)
			}
		}
		var lines strings.Builder
		failed := false
		for _, c := range checks {
			if slices.Contains(excluded, c.name) {
				continue
			}
			err := c.run(r.Context())
			a.metrics.checked(kind, c.name, err == nil)
			if err != nil {
				failed = true
				fmt.Fprintf(&lines, "[-]%s failed: %s\n", c.name, err)
				a.cfg.Logger.Warn("health check failed", "path", r.URL.Path, "check", c.name, "error", err.Error())
				continue
			}
			fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
		}
		h := w.Header()
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		if failed {
			http.Error(w, lines.String(), http.StatusServiceUnavailable) // adds an empty line, as in etcd
			return
		}
		if q.Has("verbose") {
			_, _ = w.Write([]byte(lines.String()))
		}
		_, _ = w.Write([]byte("ok\n"))
	}
}
