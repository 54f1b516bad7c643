package v2http

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

const (
	authPrefix = "/v2/auth/"
	mostAuth   = 1 << 20 // of a request's body, in bytes
)

// userJSON is a user as a GET shows it: with whole roles.
type userJSON struct {
	User  string `json:"user"`
	Roles []role `json:"roles,omitempty"`
}

// ServeHTTP serves /v2/auth (v2-http.md section 13.4).
func (a *Auth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := strings.Split(strings.TrimPrefix(path.Clean(r.URL.Path), authPrefix), "/")
	var lists, items func(http.ResponseWriter, *http.Request, string)
	switch what[0] {
	case "enable":
		if len(what) == 1 && path.Clean(r.URL.Path) == r.URL.Path {
			a.serveEnable(w, r)
			return
		}
	case "users":
		lists, items = a.listUsers, a.serveUser
	case "roles":
		lists, items = a.listRoles, a.serveRole
	}
	switch {
	case lists == nil:
		http.NotFound(w, r)
	case len(what) == 1:
		if allowed(w, r, http.MethodGet) && a.mayAdminister(w, r) {
			a.head(w)
			lists(w, r, "")
		}
	case len(what) == 2:
		if allowed(w, r, http.MethodGet, http.MethodPut, http.MethodDelete) && a.mayAdminister(w, r) {
			a.head(w)
			items(w, r, what[1])
		}
	default:
		message(w, http.StatusBadRequest, "Invalid path")
	}
}

func (a *Auth) head(w http.ResponseWriter) {
	w.Header().Set("X-Etcd-Cluster-Id", a.id)
}

func (a *Auth) serveEnable(w http.ResponseWriter, r *http.Request) {
	if !allowed(w, r, http.MethodGet, http.MethodPut, http.MethodDelete) {
		return
	}
	if r.Method != http.MethodGet && !a.mayAdminister(w, r) {
		return
	}
	a.head(w)
	var err error
	switch r.Method {
	case http.MethodGet:
		answer(w, http.StatusOK, map[string]bool{"enabled": a.access().enabled})
		return
	case http.MethodPut:
		err = a.enable(r.Context())
	default:
		err = a.disable(r.Context())
	}
	done(w, err)
}

// done answers with nothing but whether it went well.
func done(w http.ResponseWriter, err error) {
	if err != nil {
		authFailure(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
}

func (a *Auth) listUsers(w http.ResponseWriter, r *http.Request, _ string) {
	s, err := a.fresh(r.Context())
	if err != nil {
		authFailure(w, err)
		return
	}
	var out struct {
		Users []userJSON `json:"users"`
	}
	for _, name := range slices.Sorted(maps.Keys(s.users)) {
		out.Users = append(out.Users, userJSON{name, s.rolesOf(s.users[name])})
	}
	answer(w, http.StatusOK, out)
}

func (a *Auth) listRoles(w http.ResponseWriter, r *http.Request, _ string) {
	s, err := a.fresh(r.Context())
	if err != nil {
		authFailure(w, err)
		return
	}
	var out struct {
		Roles []role `json:"roles"`
	}
	for _, name := range slices.Sorted(maps.Keys(s.roles)) {
		out.Roles = append(out.Roles, s.roles[name])
	}
	answer(w, http.StatusOK, out)
}

// readBody reads a request's JSON.
func readBody(w http.ResponseWriter, r *http.Request, to any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostAuth)).Decode(to)
	if err != nil {
		message(w, http.StatusBadRequest, "Invalid JSON in request body.")
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 4<<10)) // so that the connection may be used again
	return err == nil
}

func (a *Auth) serveUser(w http.ResponseWriter, r *http.Request, name string) {
	switch r.Method {
	case http.MethodGet:
		a.showUser(w, r, name)
	case http.MethodPut:
		a.putUser(w, r, name)
	default:
		done(w, a.deleteUser(r.Context(), name))
	}
}

func (a *Auth) showUser(w http.ResponseWriter, r *http.Request, name string) {
	s, err := a.fresh(r.Context())
	if err != nil {
		authFailure(w, err)
		return
	}
	u, ok := s.users[name]
	if !ok {
		authFailure(w, refuseAuth(http.StatusNotFound, "User %s does not exist.", name))
		return
	}
	for _, role := range u.Roles {
		if _, ok := s.roles[role]; !ok {
			authFailure(w, refuseAuth(http.StatusNotFound, "Role %s does not exist.", role))
			return
		}
	}
	answer(w, http.StatusOK, userJSON{name, s.rolesOf(u)})
}

func (a *Auth) putUser(w http.ResponseWriter, r *http.Request, name string) {
	var q user
	if !readBody(w, r, &q) {
		return
	}
	if q.User != name {
		message(w, http.StatusBadRequest, "User JSON name does not match the name in the URL")
		return
	}
	var out user
	var err error
	status := http.StatusOK
	change := len(q.Grant) > 0 || len(q.Revoke) > 0
	switch {
	case change && len(q.Roles) > 0:
		message(w, http.StatusBadRequest, "User JSON contains both roles and grant/revoke")
		return
	case change:
		out, err = a.updateUser(r.Context(), q)
	case len(q.Roles) > 0:
		out, err = a.createUser(r.Context(), q)
	default:
		var s *access
		if s, err = a.fresh(r.Context()); err == nil {
			if _, there := s.users[name]; there {
				out, err = a.updateUser(r.Context(), q)
			} else {
				status = http.StatusCreated
				out, err = a.createUser(r.Context(), q)
			}
		}
	}
	if err != nil {
		authFailure(w, err)
		return
	}
	out.Password = ""
	answer(w, status, out)
}

func (a *Auth) serveRole(w http.ResponseWriter, r *http.Request, name string) {
	switch r.Method {
	case http.MethodGet:
		s, err := a.fresh(r.Context())
		if err != nil {
			authFailure(w, err)
			return
		}
		role, ok := s.roles[name]
		if !ok {
			authFailure(w, refuseAuth(http.StatusNotFound, "Role %s does not exist.", name))
			return
		}
		answer(w, http.StatusOK, role)
	case http.MethodPut:
		a.putRole(w, r, name)
	default:
		done(w, a.deleteRole(r.Context(), name))
	}
}

func (a *Auth) putRole(w http.ResponseWriter, r *http.Request, name string) {
	var q role
	if !readBody(w, r, &q) {
		return
	}
	if q.Role != name {
		message(w, http.StatusBadRequest, "Role JSON name does not match the name in the URL")
		return
	}
	if q.Grant.empty() && q.Revoke.empty() {
		if err := a.createRole(r.Context(), q); err != nil {
			authFailure(w, err)
			return
		}
		answer(w, http.StatusCreated, q) // as it was sent
		return
	}
	if !q.Permissions.empty() {
		message(w, http.StatusBadRequest, "Role JSON contains both permissions and grant/revoke")
		return
	}
	out, err := a.updateRole(r.Context(), q)
	if err != nil {
		authFailure(w, err)
		return
	}
	answer(w, http.StatusOK, out)
}
