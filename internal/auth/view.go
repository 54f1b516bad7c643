package auth

import (
	"go.etcd.io/etcd/api/v3/authpb"

	"github.com/cairn-kv/cairn/internal/wire"
)

// View is the table at one moment. Any number of goroutines may read it.
type View struct {
	Enabled  bool
	Revision uint64
	users    *users
	roles    *roles
}

// Enabled reports whether authentication is on.
func (t *Table) Enabled() bool { return t.enabled }

// View returns the table as it is now.
func (t *Table) View() *View {
	if t.view == nil {
		t.view = &View{t.enabled, t.revision, t.users.Copy(), t.roles.Copy()}
	}
	return t.view
}

// User returns a user.
func (v *View) User(name string) (*User, bool) { return v.users.Get(&User{Name: name}) }

// Role returns a role.
func (v *View) Role(name string) (*Role, bool) { return v.roles.Get(&Role{Name: name}) }

// Users are the names of all users, in order.
func (v *View) Users() (names []string) {
	v.users.Scan(func(u *User) bool {
		names = append(names, u.Name)
		return true
	})
	return names
}

// Roles are the names of all roles, in order. As in etcd those that begin with byte 0xff are not listed.
func (v *View) Roles() (names []string) {
	v.roles.Scan(func(r *Role) bool {
		if r.Name < "\xff" {
			names = append(names, r.Name)
		}
		return true
	})
	return names
}

// Admin refuses whoever does not have the role root. It does not matter how old the identity is.
func (v *View) Admin(id Identity) error {
	if !v.Enabled {
		return nil
	}
	if id.User == "" {
		return wire.ErrUserEmpty
	}
	u, ok := v.User(id.User)
	switch {
	case !ok:
		return wire.ErrUserNotFound
	case !u.has(Root):
		return wire.ErrPermissionDenied
	}
	return nil
}

// Has reports whether somebody has a role.
func (v *View) Has(id Identity, role string) bool {
	u, ok := v.User(id.User)
	return ok && u.has(role)
}

// Known refuses nobody in particular, and names that are no user's: a certificate may have any.
func (v *View) Known(id Identity) error {
	if !v.Enabled {
		return nil
	}
	if id.User == "" {
		return wire.ErrUserEmpty
	}
	if _, ok := v.User(id.User); !ok {
		return wire.ErrPermissionDenied
	}
	return nil
}

// Need is a range of keys that a request reads or writes.
type Need struct {
	Range wire.Range
	Write bool
}

// Read and Write are needs.
func Read(r wire.Range) Need  { return Need{Range: r} }
func Write(r wire.Range) Need { return Need{Range: r, Write: true} }

// Allow refuses a request that needs what its sender may not do (v3-grpc.md section 15.4). One that needs nothing may be
// anybody's.
func (v *View) Allow(id Identity, needs ...Need) error {
	if !v.Enabled || len(needs) == 0 {
		return nil
	}
	switch {
	case id.User == "":
		return wire.ErrUserEmpty
	case id.Revision < v.Revision:
		return wire.ErrAuthOldRevision
	}
	u, ok := v.User(id.User)
	if !ok {
		return wire.ErrPermissionDenied
	}
	if u.has(Root) {
		return nil
	}
	var held []*Role
	for _, name := range u.Roles {
		if r, ok := v.Role(name); ok {
			held = append(held, r)
		}
	}
	for _, n := range needs {
		if !covered(held, n) {
			return wire.ErrPermissionDenied
		}
	}
	return nil
}

// covered says that roles together allow every key of a range. Of an empty range it is the first key that counts.
func covered(held []*Role, n Need) bool {
	r := n.Range
	if r.Empty() {
		r = wire.One(r.Lo)
	}
	for at := r.Lo; ; {
		reach, found := at, false
		for _, role := range held {
			c := role.read
			if n.Write {
				c = role.write
			}
			hi, ok := c.from(at)
			switch {
			case !ok:
			case hi == "":
				return true
			case !found || hi > reach:
				reach, found = hi, true
			}
		}
		if !found {
			return false
		}
		if r.Hi != "" && reach >= r.Hi {
			return true
		}
		at = reach
	}
}

// Everything is what the role root may do, for those who ask.
var Everything = Permission{Type: authpb.READWRITE, Key: []byte{}, End: []byte{0}}
