package v2http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/peerurl"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Membership is what changes who belongs to the cluster.
type Membership interface {
	AddMember(ctx context.Context, peerURLs []string, as cluster.Kind) (cluster.Member, error)
	RemoveMember(ctx context.Context, id cluster.ID) error
	UpdateMember(ctx context.Context, id cluster.ID, peerURLs []string) error
}

const (
	membersPrefix = "/v2/members"
	mostMember    = 1 << 20 // of a request's body, in bytes
)

// memberJSON is a member as the v2 API shows it: all four fields are always there.
type memberJSON struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	PeerURLs   []string `json:"peerURLs"`
	ClientURLs []string `json:"clientURLs"`
}

func showMember(m cluster.Member) memberJSON {
	some := func(s []string) []string {
		if s == nil {
			return []string{}
		}
		return s
	}
	return memberJSON{m.ID.String(), m.Name, some(m.PeerURLs), some(m.ClientURLs)}
}

// message answers with an error in the form of all v2 routes but the keys.
func message(w http.ResponseWriter, status int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	failed(w, text)
	b, err := json.Marshal(map[string]string{"message": text})
	if err != nil {
		panic(err) // a string has a JSON form
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b)
}

// answer answers with JSON and a line feed behind it.
func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		message(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n'))
}

// Members serves /v2/members (v2-http.md section 10).
type Members struct {
	Backend
	change Membership
	auth   *Auth
	id     string // of the cluster
}

// NewMembers makes the handler.
func NewMembers(b Backend, m Membership, a *Auth, clusterID string) *Members {
	return &Members{b, m, a, clusterID}
}

func (h *Members) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodPut) {
		return
	}
	if r.Method != http.MethodGet && !h.auth.mayAdminister(w, r) {
		return
	}
	w.Header().Set("X-Etcd-Cluster-Id", h.id)
	rest := strings.Trim(strings.TrimPrefix(r.URL.Path, membersPrefix), "/")
	switch r.Method {
	case http.MethodGet:
		h.get(w, rest)
	case http.MethodPost:
		h.add(w, r)
	case http.MethodDelete:
		if id, ok := h.memberID(w, rest); ok {
			h.remove(w, r, id)
		}
	case http.MethodPut:
		if id, ok := h.memberID(w, rest); ok {
			h.update(w, r, id)
		}
	}
}

// allowed refuses methods that a route does not have.
func allowed(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ","))
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}

func (h *Members) get(w http.ResponseWriter, what string) {
	v := h.View().Cluster
	switch what {
	case "":
		out := struct {
			Members []memberJSON `json:"members"`
		}{[]memberJSON{}}
		for _, m := range v.Members() {
			out.Members = append(out.Members, showMember(m))
		}
		answer(w, http.StatusOK, out)
	case "leader":
		m, ok := v.Member(h.Leader())
		if !ok {
			message(w, http.StatusServiceUnavailable, "During election")
			return
		}
		answer(w, http.StatusOK, showMember(m))
	default:
		message(w, http.StatusNotFound, "Not found")
	}
}

// memberID reads the ID that a path ends with.
func (h *Members) memberID(w http.ResponseWriter, s string) (cluster.ID, bool) {
	if s == "" {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return 0, false
	}
	id, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		message(w, http.StatusNotFound, "No such member: %s", s)
		return 0, false
	}
	return cluster.ID(id), true
}

func (h *Members) add(w http.ResponseWriter, r *http.Request) {
	urls, ok := peerURLs(w, r)
	if !ok {
		return
	}
	m, err := h.change.AddMember(r.Context(), urls, cluster.Voter)
	if err != nil {
		refuseMember(w, err, 0)
		return
	}
	chosen(w, m.ID)
	answer(w, http.StatusCreated, showMember(m))
}

func (h *Members) remove(w http.ResponseWriter, r *http.Request, id cluster.ID) {
	if h.View().Cluster.Removed(id) {
		message(w, http.StatusGone, "Member permanently removed: %s", id)
		return
	}
	if err := h.change.RemoveMember(r.Context(), id); err != nil {
		refuseMember(w, err, id)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Members) update(w http.ResponseWriter, r *http.Request, id cluster.ID) {
	urls, ok := peerURLs(w, r)
	if !ok {
		return
	}
	if err := h.change.UpdateMember(r.Context(), id, urls); err != nil {
		refuseMember(w, err, id)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func refuseMember(w http.ResponseWriter, err error, id cluster.ID) {
	switch {
	case errors.Is(err, wire.ErrMemberExist):
		message(w, http.StatusConflict, "membership: ID exists")
	case errors.Is(err, wire.ErrPeerURLExist):
		message(w, http.StatusConflict, "membership: peerURL exists")
	case errors.Is(err, wire.ErrMemberNotFound):
		message(w, http.StatusNotFound, "No such member: %s", id)
	default:
		message(w, http.StatusInternalServerError, "Internal Server Error")
	}
}

// peerURLs reads the URLs in a request's body.
func peerURLs(w http.ResponseWriter, r *http.Request) ([]string, bool) {
	ct := r.Header.Get("Content-Type")
	if kind, _, err := mime.ParseMediaType(ct); err != nil || kind != "application/json" {
		message(w, http.StatusUnsupportedMediaType, "Bad Content-Type %s, accept application/json", ct)
		return nil, false
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, mostMember))
	var body struct {
		PeerURLs []string `json:"peerURLs"`
	}
	if err == nil {
		err = json.Unmarshal(b, &body)
	}
	var urls []string
	if err == nil {
		urls, err = peerurl.Clean(body.PeerURLs)
	}
	if err != nil {
		message(w, http.StatusBadRequest, "%v", err)
		return nil, false
	}
	return urls, true
}

// Machines serves /v2/machines: the client URLs of all members.
type Machines struct{ Backend }

func (h Machines) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	var urls []string
	for _, m := range h.View().Cluster.Members() {
		urls = append(urls, m.ClientURLs...)
	}
	slices.Sort(urls)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, strings.Join(urls, ", "))
}
