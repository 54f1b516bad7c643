package auth

import (
	"bytes"
	"slices"
	"sort"

	"go.etcd.io/etcd/api/v3/authpb"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Enable switches authentication on. There has to be somebody who can switch it off again.
func (t *Table) Enable(b engine.Batch) error {
	if t.enabled {
		return nil
	}
	root, ok := t.users.Get(&User{Name: Root})
	switch {
	case !ok:
		return wire.ErrRootUserNotExist
	case !root.has(Root):
		return wire.ErrRootRoleNotExist
	}
	t.setEnabled(b, true)
	return nil
}

// Disable switches authentication off, and reports whether it was on.
func (t *Table) Disable(b engine.Batch) bool {
	if !t.enabled {
		return false
	}
	t.setEnabled(b, false)
	t.changed(b)
	return true
}

// AddUser adds a user with the hash of its password.
func (t *Table) AddUser(b engine.Batch, u User) error {
	if u.Name == "" {
		return wire.ErrUserEmpty
	}
	if _, ok := t.users.Get(&u); ok {
		return wire.ErrUserAlreadyExist
	}
	u.Roles = nil
	if u.NoPassword {
		u.Hash = nil
	}
	t.putUser(b, &u)
	t.changed(b)
	return nil
}

// DeleteUser removes a user.
func (t *Table) DeleteUser(b engine.Batch, name string) error {
	if t.enabled && name == Root {
		return wire.ErrInvalidAuthMgmt
	}
	if _, ok := t.users.Delete(&User{Name: name}); !ok {
		return wire.ErrUserNotFound
	}
	b.Delete(engine.AuthUsers, []byte(name))
	t.changed(b)
	return nil
}

// ChangePassword gives a user another password's hash. A user without a password keeps none.
func (t *Table) ChangePassword(b engine.Batch, name string, hash []byte) error {
	u, ok := t.users.Get(&User{Name: name})
	if !ok {
		return wire.ErrUserNotFound
	}
	if u.NoPassword {
		hash = nil
	}
	next := *u
	next.Hash = hash
	t.putUser(b, &next)
	t.changed(b)
	return nil
}

// GrantRole gives a user a role. Only the role root need not exist.
func (t *Table) GrantRole(b engine.Batch, user, role string) error {
	u, ok := t.users.Get(&User{Name: user})
	if !ok {
		return wire.ErrUserNotFound
	}
	if _, ok := t.roles.Get(&Role{Name: role}); !ok && role != Root {
		return wire.ErrRoleNotFound
	}
	i, has := slices.BinarySearch(u.Roles, role)
	if has {
		return nil
	}
	next := *u
	next.Roles = slices.Insert(slices.Clone(u.Roles), i, role)
	t.putUser(b, &next)
	t.changed(b)
	return nil
}

// RevokeRole takes a role from a user.
func (t *Table) RevokeRole(b engine.Batch, user, role string) error {
	if t.enabled && user == Root && role == Root {
		return wire.ErrInvalidAuthMgmt
	}
	u, ok := t.users.Get(&User{Name: user})
	if !ok {
		return wire.ErrUserNotFound
	}
	if !u.has(role) {
		return wire.ErrRoleNotGranted
	}
	t.putUser(b, u.without(role))
	t.changed(b)
	return nil
}

func (u *User) without(role string) *User {
	next := *u
	next.Roles = slices.DeleteFunc(slices.Clone(u.Roles), func(r string) bool { return r == role })
	return &next
}

// AddRole adds a role without permissions.
func (t *Table) AddRole(b engine.Batch, name string) error {
	if name == "" {
		return wire.ErrRoleEmpty
	}
	if _, ok := t.roles.Get(&Role{Name: name}); ok {
		return wire.ErrRoleAlreadyExist
	}
	t.putRole(b, newRole(name, nil))
	t.changed(b)
	return nil
}

// DeleteRole removes a role, and takes it from all users.
func (t *Table) DeleteRole(b engine.Batch, name string) error {
	if t.enabled && name == Root {
		return wire.ErrInvalidAuthMgmt
	}
	if _, ok := t.roles.Delete(&Role{Name: name}); !ok {
		return wire.ErrRoleNotFound
	}
	b.Delete(engine.AuthRoles, []byte(name))
	var holders []*User
	t.users.Scan(func(u *User) bool {
		if u.has(name) {
			holders = append(holders, u)
		}
		return true
	})
	for _, u := range holders {
		t.putUser(b, u.without(name))
	}
	t.changed(b)
	return nil
}

// Grant gives a role a permission. One for the same range is replaced; as in etcd only the first of those for the same key is
// looked at.
func (t *Table) Grant(b engine.Batch, role string, p *Permission) error {
	if p == nil {
		return wire.ErrPermissionNotGiven
	}
	if !validRange(p.Key, p.End) {
		return wire.ErrInvalidAuthMgmt
	}
	r, ok := t.roles.Get(&Role{Name: role})
	if !ok {
		return wire.ErrRoleNotFound
	}
	perms := slices.Clone(r.Permissions)
	i := sort.Search(len(perms), func(i int) bool { return bytes.Compare(perms[i].Key, p.Key) >= 0 })
	if i < len(perms) && bytes.Equal(perms[i].Key, p.Key) && bytes.Equal(perms[i].End, p.End) {
		perms[i].Type = p.Type
	} else {
		perms = append(perms, Permission{p.Type, bytes.Clone(p.Key), bytes.Clone(p.End)})
		sort.Stable(byKey(perms))
	}
	t.putRole(b, newRole(role, perms))
	t.changed(b)
	return nil
}

type byKey []Permission

func (p byKey) Len() int           { return len(p) }
func (p byKey) Less(i, j int) bool { return bytes.Compare(p[i].Key, p[j].Key) < 0 }
func (p byKey) Swap(i, j int)      { p[i], p[j] = p[j], p[i] }

// validRange says that a permission's range may hold a key.
func validRange(key, end []byte) bool {
	switch {
	case len(key) == 0:
		return false
	case len(end) == 0, len(end) == 1 && end[0] == 0:
		return true
	}
	return bytes.Compare(key, end) < 0
}

// Ungrant takes the permissions for exactly this range from a role.
func (t *Table) Ungrant(b engine.Batch, role string, key, end []byte) error {
	r, ok := t.roles.Get(&Role{Name: role})
	if !ok {
		return wire.ErrRoleNotFound
	}
	perms := slices.DeleteFunc(slices.Clone(r.Permissions), func(p Permission) bool {
		return bytes.Equal(p.Key, key) && bytes.Equal(p.End, end)
	})
	if len(perms) == len(r.Permissions) {
		return wire.ErrPermissionNotGranted
	}
	t.putRole(b, newRole(role, perms))
	t.changed(b)
	return nil
}

// PermissionOf is a permission as requests hold it; nil for none.
func PermissionOf(p *authpb.Permission) *Permission {
	if p == nil {
		return nil
	}
	return &Permission{p.GetPermType(), p.GetKey(), p.GetRangeEnd()}
}
