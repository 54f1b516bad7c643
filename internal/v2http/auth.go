package v2http

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

const (
	rootName  = "root"
	guestName = "guest"

	noCredentials = "Insufficient credentials"
)

// permission is what a role may do with keys: patterns of paths.
type permission struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
}

type permissions struct {
	KV permission `json:"kv"`
}

func (p *permissions) empty() bool { return p == nil || len(p.KV.Read) == 0 && len(p.KV.Write) == 0 }

// role is a role as it is kept and shown.
type role struct {
	Role        string       `json:"role"`
	Permissions permissions  `json:"permissions"`
	Grant       *permissions `json:"grant,omitempty"`
	Revoke      *permissions `json:"revoke,omitempty"`
}

// user is a user as it is kept, and as a PUT answers, then without the password.
type user struct {
	User     string   `json:"user"`
	Password string   `json:"password,omitempty"` // its hash, once it is kept
	Roles    []string `json:"roles"`
	Grant    []string `json:"grant,omitempty"`
	Revoke   []string `json:"revoke,omitempty"`
}

var rootRole = role{Role: rootName, Permissions: permissions{permission{Read: []string{"/*"}, Write: []string{"/*"}}}}

// access is who may do what, taken out of the tree.
type access struct {
	index   uint64 // of the last change
	begun   bool   // there are records
	enabled bool
	users   map[string]user
	roles   map[string]role
	kept    map[string]string // the texts of both, by their paths
}

// Auth knows who may do what (v2-http.md section 13). Its users and roles are not those of v3.
type Auth struct {
	Backend
	log          Proposer
	passwords    *password.Checker
	certificates bool   // --client-cert-auth: a verified certificate names a user
	id           string // of the cluster
	logger       *slog.Logger
	latest       atomic.Pointer[access]
}

// Proposer puts a command into the log and waits for its effect.
type Proposer interface {
	Propose(ctx context.Context, kind wire.Kind, body []byte) (machine.Result, error)
}

// NewAuth makes it. With certificates, the Common Name of a verified client certificate stands for a user.
func NewAuth(b Backend, p Proposer, passwords *password.Checker, certificates bool, clusterID string, logger *slog.Logger) *Auth {
	return &Auth{Backend: b, log: p, passwords: passwords, certificates: certificates, id: clusterID, logger: logger}
}

// Paths of records in the log.
const (
	recordsRoot   = "/2"
	recordUsers   = recordsRoot + "/users"
	recordRoles   = recordsRoot + "/roles"
	recordEnabled = recordsRoot + "/enabled"
)

// access is the state as this member has it.
func (a *Auth) access() *access {
	v := a.View().Tree
	if s := a.latest.Load(); s != nil && s.index == v.RecordsIndex {
		return s
	}
	s := readAccess(v)
	a.latest.Store(s)
	return s
}

// readAccess passes over what it cannot read: what is not understood permits nothing.
func readAccess(v *tree.View) *access {
	s := &access{index: v.RecordsIndex, users: map[string]user{}, roles: map[string]role{rootName: rootRole}, kept: map[string]string{}}
	on, begun := v.Record(recordEnabled)
	s.begun, s.enabled = begun, on == "true"
	for path, text := range v.Records(recordUsers + "/") {
		var u user
		if json.Unmarshal([]byte(text), &u) == nil && path == recordUsers+"/"+u.User {
			s.users[u.User], s.kept[path] = asKept(u), text
		}
	}
	for path, text := range v.Records(recordRoles + "/") {
		var r role
		if json.Unmarshal([]byte(text), &r) == nil && path == recordRoles+"/"+r.Role {
			s.roles[r.Role], s.kept[path] = r, text
		}
	}
	return s
}

// asKept is a user with what it always has: the user root, the role root.
func asKept(u user) user {
	if u.User == rootName && !slices.Contains(u.Roles, rootName) {
		u.Roles = append(slices.Clone(u.Roles), rootName)
		slices.Sort(u.Roles)
	}
	return u
}

// rolesOf are those of a user's roles that there are.
func (s *access) rolesOf(u user) (out []role) {
	for _, name := range u.Roles {
		if r, ok := s.roles[name]; ok {
			out = append(out, r)
		}
	}
	return out
}

// deniedError says that the caller is not who it claims to be.
type deniedError struct{}

func (deniedError) Error() string { return noCredentials }

var errDenied error = deniedError{}

// caller finds out who asks. named is false for nobody in particular.
func (a *Auth) caller(r *http.Request, s *access) (u user, named bool, err error) {
	if r.Header.Get("Authorization") != "" {
		name, secret, ok := r.BasicAuth()
		knows(r, "", name)
		if !ok {
			return u, false, errDenied
		}
		u := s.users[name]
		address, _, _ := net.SplitHostPort(r.RemoteAddr)
		right, err := a.passwords.Check(r.Context(), password.Attempt{User: name, Address: address, Password: secret, Hash: u.Password})
		switch {
		case err != nil:
			return u, false, err
		case !right:
			a.logger.Warn("a v2 request has a wrong password or an unknown user", "user", name, "remote-addr", r.RemoteAddr)
			return u, false, errDenied
		}
		knows(r, u.User, "")
		return u, true, nil
	}
	if a.certificates && r.TLS != nil {
		for _, chain := range r.TLS.VerifiedChains {
			if i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { _, ok := s.users[c.Subject.CommonName]; return ok }); i >= 0 {
				u := s.users[chain[i].Subject.CommonName]
				knows(r, u.User, "")
				return u, true, nil
			}
		}
	}
	return user{}, false, nil
}

// mayAccess judges a request for a key: path is as it was sent.
func (a *Auth) mayAccess(r *http.Request, path string, recursive bool) error {
	s := a.access()
	if !s.enabled {
		return nil
	}
	u, named, err := a.caller(r, s)
	if err != nil {
		return unauthorized(err)
	}
	roles := s.rolesOf(u)
	if !named {
		recursive = false
		roles = nil
		if guest, ok := s.roles[guestName]; ok {
			roles = []role{guest}
		}
	}
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	for i := range roles {
		if roles[i].permits(path, write, recursive) {
			return nil
		}
	}
	return unauthorized(errDenied)
}

func unauthorized(err error) error {
	if errors.Is(err, errDenied) {
		return &refusal{codeUnauthorized, noCredentials}
	}
	return &refusal{codeRaftInternal, err.Error()}
}

func (r *role) permits(path string, write, recursive bool) bool {
	if r.Role == rootName {
		return true
	}
	patterns := r.Permissions.KV.Read
	if write {
		patterns = r.Permissions.KV.Write
	}
	return slices.ContainsFunc(patterns, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(path, prefix)
		}
		return p != "" && !recursive && p == path
	})
}

// mayAdminister answers with a refusal unless the caller has the role root.
func (a *Auth) mayAdminister(w http.ResponseWriter, r *http.Request) bool {
	s := a.access()
	if !s.enabled {
		return true
	}
	u, named, err := a.caller(r, s)
	switch {
	case err != nil && !errors.Is(err, errDenied):
		message(w, http.StatusInternalServerError, "%v", err)
		return false
	case named && slices.Contains(u.Roles, rootName):
		return true
	}
	message(w, http.StatusUnauthorized, noCredentials)
	return false
}

// authError is a refusal of the store of users and roles.
type authError struct {
	status int
	text   string
}

func (e *authError) Error() string { return "auth: " + e.text }

func refuseAuth(status int, format string, args ...any) error {
	return &authError{status, fmt.Sprintf(format, args...)}
}

func authFailure(w http.ResponseWriter, err error) {
	var e *authError
	if errors.As(err, &e) {
		message(w, e.status, "%s", e.Error())
		return
	}
	message(w, http.StatusInternalServerError, "Internal Server Error")
}
