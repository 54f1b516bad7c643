package v2http

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/audit"
	"github.com/cairn-kv/cairn/internal/cluster"
)

// Recorded is the handler with what it is asked recorded in the audit log: the handler itself if there is none.
func Recorded(log *audit.Log, next http.Handler) http.Handler {
	if log == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &recorded{ResponseWriter: w, log: log}
		a.rec = audit.Record{Began: time.Now(), API: "v2", From: r.RemoteAddr}
		a.about(r)
		next.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), recordedKey{}, a)))
		a.tell(http.StatusOK)
	})
}

type recordedKey struct{}

// recorded is a response writer that writes the record of a request when the status of its answer is known.
type recorded struct {
	http.ResponseWriter
	log  *audit.Log
	rec  audit.Record
	told bool
}

// about puts down what the path and the method say.
func (a *recorded) about(r *http.Request) {
	rec, path := &a.rec, r.URL.Path
	rec.Class = audit.Admin
	route, rest := path, ""
	for _, prefix := range []string{KeysPath, membersPrefix, authPrefix + "users", authPrefix + "roles", authPrefix + "enable"} {
		if s, ok := strings.CutPrefix(path, prefix); ok {
			route, rest = prefix, strings.TrimPrefix(s, "/")
			break
		}
	}
	rec.Method = r.Method + " " + route
	switch route {
	case KeysPath:
		rec.Class = audit.Write
		rec.Touch(keyOps[r.Method], "", []byte("/"+rest), nil)
	case membersPrefix:
		if id, err := strconv.ParseUint(rest, 16, 64); err == nil {
			rec.Members = []uint64{id}
		}
	case authPrefix + "users":
		rec.OfUser = rest
	case authPrefix + "roles":
		rec.OfRole = rest
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		rec.Class = audit.Read
	}
}

var keyOps = map[string]string{http.MethodGet: "get", http.MethodHead: "get", http.MethodPut: "set", http.MethodPost: "create",
	http.MethodDelete: "delete"}

// recordOf is the record of the request that is answered, nil if there is none.
func recordOf(w http.ResponseWriter) *audit.Record {
	if a, ok := w.(*recorded); ok {
		return &a.rec
	}
	return nil
}

// knows puts down who asks. login is the name that a wrong password was given for.
func knows(r *http.Request, user, login string) {
	if a, ok := r.Context().Value(recordedKey{}).(*recorded); ok {
		a.rec.User, a.rec.Login = user, login
	}
}

// chosen puts down the ID of a member that was added.
func chosen(w http.ResponseWriter, id cluster.ID) {
	if rec := recordOf(w); rec != nil {
		rec.Members = []uint64{uint64(id)}
	}
}

// failed puts down why a request is refused. What an error of keys was caused by is left out: it may hold values.
func failed(w http.ResponseWriter, text string) {
	if rec := recordOf(w); rec != nil {
		rec.Error = text
	}
}

func (a *recorded) tell(status int) {
	if a.told {
		return
	}
	a.told = true
	a.rec.Code = strconv.Itoa(status)
	a.rec.Refused = status == http.StatusUnauthorized
	a.rec.Revision, _ = strconv.ParseInt(a.Header().Get("X-Etcd-Index"), 10, 64)
	a.log.Write(&a.rec)
}

// WriteHeader implements http.ResponseWriter.
func (a *recorded) WriteHeader(status int) {
	a.tell(status)
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *recorded) Write(b []byte) (int, error) {
	a.tell(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush.
func (a *recorded) Unwrap() http.ResponseWriter { return a.ResponseWriter }
