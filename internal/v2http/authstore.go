package v2http

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"

	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// mostTries bounds how often a change is tried that others get ahead of.
const mostTries = 16

// fresh is the state with everything that was acknowledged before.
func (a *Auth) fresh(ctx context.Context) (*access, error) {
	if err := a.Read(ctx); err != nil {
		return nil, err
	}
	return a.access(), nil
}

func (a *Auth) propose(ctx context.Context, q wire.V2Request) error {
	_, err := a.log.Propose(ctx, wire.KindV2, q.Append(nil))
	return err
}

// begin makes what records are kept in. Each part takes an index of its own, as it does in etcd; one that is there takes
// none.
func (a *Auth) begin(ctx context.Context) error {
	if a.access().begun {
		return nil
	}
	for _, q := range []wire.V2Request{
		{Path: recordsRoot, Dir: true}, {Path: recordUsers + "/", Dir: true}, {Path: recordRoles + "/", Dir: true}, {Path: recordEnabled, Val: "false"},
	} {
		q.Method, q.PrevExist = wire.V2Put, new(false)
		if err := a.propose(ctx, q); err != nil && treeCode(err) != tree.CodeExists {
			return err
		}
	}
	return nil
}

func treeCode(err error) int {
	var e *tree.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// create keeps what must not be there yet.
func (a *Auth) create(ctx context.Context, path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = a.begin(ctx)
	}
	if err != nil {
		return err
	}
	return a.propose(ctx, wire.V2Request{Method: wire.V2Put, Path: path, Val: string(b), PrevExist: new(false)})
}

// update changes a record. If it has changed since change has seen it, all begins anew.
func (a *Auth) update(ctx context.Context, path string, change func(s *access) (any, error)) error {
	for range mostTries {
		s, err := a.fresh(ctx)
		if err != nil {
			return err
		}
		v, err := change(s)
		if err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := a.begin(ctx); err != nil {
			return err
		}
		err = a.propose(ctx, wire.V2Request{Method: wire.V2Put, Path: path, Val: string(b), PrevExist: new(true), PrevValue: s.kept[path]})
		if treeCode(err) != tree.CodeTestFailed {
			return err
		}
	}
	return wire.ErrTooManyRequests
}

func (a *Auth) createUser(ctx context.Context, u user) (user, error) {
	if u.Password == "" {
		return u, refuseAuth(http.StatusBadRequest, "Cannot create user %s with an empty password", u.User)
	}
	hash, err := a.passwords.Hash(ctx, u.Password)
	if err != nil {
		return u, refuseAuth(http.StatusBadRequest, "%v", err)
	}
	kept := asKept(user{User: u.User, Password: hash, Roles: u.Roles})
	err = a.create(ctx, recordUsers+"/"+u.User, kept)
	if treeCode(err) == tree.CodeExists {
		err = refuseAuth(http.StatusConflict, "User %s already exists.", u.User)
	}
	return kept, err
}

func (a *Auth) updateUser(ctx context.Context, u user) (out user, err error) {
	hash := ""
	if u.Password != "" {
		if hash, err = a.passwords.Hash(ctx, u.Password); err != nil {
			return out, refuseAuth(http.StatusBadRequest, "%v", err)
		}
	}
	err = a.update(ctx, recordUsers+"/"+u.User, func(s *access) (any, error) {
		old, ok := s.users[u.User]
		if !ok {
			return nil, refuseAuth(http.StatusNotFound, "User %s does not exist.", u.User)
		}
		out, err = old.changed(u, hash)
		if err == nil && reflect.DeepEqual(old, out) {
			err = refuseAuth(http.StatusBadRequest, "User not updated. Use grant/revoke/password to update the user.")
		}
		return out, err
	})
	return out, err
}

// changed is the user with the changes that a request asks for.
func (u user) changed(q user, hash string) (user, error) {
	out := user{User: u.User, Password: u.Password, Roles: asSet(u.Roles)}
	if hash != "" {
		out.Password = hash
	}
	for _, r := range q.Grant {
		if slices.Contains(out.Roles, r) {
			return out, refuseAuth(http.StatusConflict, "Granting duplicate role %s for user %s", r, u.User)
		}
		out.Roles = append(out.Roles, r)
	}
	for _, r := range q.Revoke {
		i := slices.Index(out.Roles, r)
		if i < 0 {
			return out, refuseAuth(http.StatusConflict, "Revoking ungranted role %s for user %s", r, u.User)
		}
		out.Roles = slices.Delete(out.Roles, i, i+1)
	}
	slices.Sort(out.Roles)
	return out, nil
}

func (a *Auth) deleteUser(ctx context.Context, name string) error {
	s, err := a.fresh(ctx)
	switch {
	case err != nil:
		return err
	case s.enabled && name == rootName:
		return refuseAuth(http.StatusForbidden, "Cannot delete root user while auth is enabled.")
	}
	if err := a.begin(ctx); err != nil {
		return err
	}
	err = a.propose(ctx, wire.V2Request{Method: wire.V2Delete, Path: recordUsers + "/" + name})
	if treeCode(err) == tree.CodeNotFound {
		err = refuseAuth(http.StatusNotFound, "User %s does not exist", name)
	}
	return err
}

func mayChangeRole(name string) error {
	if name == rootName {
		return refuseAuth(http.StatusForbidden, "Cannot modify role %s: is root role.", name)
	}
	return nil
}

func (a *Auth) createRole(ctx context.Context, r role) error {
	if err := mayChangeRole(r.Role); err != nil {
		return err
	}
	err := a.create(ctx, recordRoles+"/"+r.Role, r)
	if treeCode(err) == tree.CodeExists {
		err = refuseAuth(http.StatusConflict, "Role %s already exists.", r.Role)
	}
	return err
}

func (a *Auth) updateRole(ctx context.Context, r role) (out role, err error) {
	if err := mayChangeRole(r.Role); err != nil {
		return out, err
	}
	err = a.update(ctx, recordRoles+"/"+r.Role, func(s *access) (any, error) {
		old, ok := s.roles[r.Role]
		if !ok {
			return nil, refuseAuth(http.StatusNotFound, "Role %s does not exist.", r.Role)
		}
		out, err = old.changed(r.Grant, r.Revoke)
		if err == nil && reflect.DeepEqual(old, out) {
			err = refuseAuth(http.StatusBadRequest, "Role not updated. Use grant/revoke to update the role.")
		}
		return out, err
	})
	return out, err
}

// changed is the role with patterns granted and revoked. What is not there cannot be taken away: that changes nothing.
func (r role) changed(grant, revoke *permissions) (role, error) {
	out := role{Role: r.Role, Permissions: r.Permissions}
	kv := &out.Permissions.KV
	if grant != nil {
		var err error
		if kv.Read, err = granted("read", kv.Read, grant.KV.Read); err != nil {
			return out, err
		}
		if kv.Write, err = granted("write", kv.Write, grant.KV.Write); err != nil {
			return out, err
		}
	}
	if revoke != nil {
		kv.Read, kv.Write = without(kv.Read, revoke.KV.Read), without(kv.Write, revoke.KV.Write)
	}
	return out, nil
}

func granted(kind string, have, more []string) ([]string, error) {
	out := asSet(have)
	for _, p := range more {
		if slices.Contains(out, p) {
			return nil, refuseAuth(http.StatusConflict, "Granting duplicate %s permission %s", kind, p)
		}
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

func without(have, less []string) []string {
	return slices.DeleteFunc(asSet(have), func(p string) bool { return slices.Contains(less, p) })
}

// asSet is a list in order in which nothing comes twice, as it does in one that was sent. It is never nil.
func asSet(list []string) []string {
	out := append([]string{}, list...)
	slices.Sort(out)
	return slices.Compact(out)
}

func (a *Auth) deleteRole(ctx context.Context, name string) error {
	err := mayChangeRole(name)
	if err == nil {
		err = a.begin(ctx)
	}
	if err == nil {
		err = a.propose(ctx, wire.V2Request{Method: wire.V2Delete, Path: recordRoles + "/" + name})
	}
	if treeCode(err) == tree.CodeNotFound {
		err = refuseAuth(http.StatusNotFound, "Role %s doesn't exist.", name)
	}
	return err
}

// enable switches permissions on. Who has none may do what the role guest may, and that is everything until it is changed.
func (a *Auth) enable(ctx context.Context) error {
	s, err := a.fresh(ctx)
	if err != nil {
		return err
	}
	if s.enabled {
		return refuseAuth(http.StatusConflict, "already enabled")
	}
	if _, ok := s.users[rootName]; !ok {
		return refuseAuth(http.StatusConflict, "No root user available, please create one")
	}
	if _, ok := s.roles[guestName]; !ok {
		all := []string{"/*"}
		if err := a.createRole(ctx, role{Role: guestName, Permissions: permissions{permission{all, all}}}); err != nil {
			return err
		}
	}
	return a.propose(ctx, wire.V2Request{Method: wire.V2Put, Path: recordEnabled, Val: "true", PrevExist: new(true)})
}

func (a *Auth) disable(ctx context.Context) error {
	s, err := a.fresh(ctx)
	if err != nil {
		return err
	}
	if !s.enabled {
		return refuseAuth(http.StatusConflict, "already disabled")
	}
	return a.propose(ctx, wire.V2Request{Method: wire.V2Put, Path: recordEnabled, Val: "false", PrevExist: new(true)})
}
