// Package auth is the table of users, roles and permissions of the v3 API, as part of the replicated state (v3-grpc.md section
// 15).
//
// It must never know how anybody proves who they are, nor the time: passwords come as hashes, and whom a request comes from is
// given.
package auth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/tidwall/btree"
	"go.etcd.io/etcd/api/v3/authpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Root is the name of the user and of the role that may do everything.
const Root = "root"

// Identity is whom a request comes from, and the revision of the table at which that was found out. The zero Identity is
// nobody.
type Identity struct {
	User     string
	Revision uint64
}

// Member is the identity of what members ask for by themselves. It does not get old.
var Member = Identity{User: Root, Revision: 1<<64 - 1}

// User is one user. It never changes.
type User struct {
	Name       string
	Hash       []byte   // of the password; empty for one that nobody can log in with
	Roles      []string // sorted
	NoPassword bool     // is known by a certificate alone
}

func (u *User) has(role string) bool {
	_, ok := slices.BinarySearch(u.Roles, role)
	return ok
}

// Permission is what a role may do with a range of keys.
type Permission struct {
	Type     authpb.Permission_Type
	Key, End []byte // in etcd's form: an empty end is for one key, "\0" for all from the key on
}

// Role is a name for permissions. It never changes.
type Role struct {
	Name        string
	Permissions []Permission // sorted by key
	read, write cover
}

type (
	users = btree.BTreeG[*User]
	roles = btree.BTreeG[*Role]
)

// Table is the state. One goroutine, the apply queue, owns it.
type Table struct {
	enabled  bool
	revision uint64
	users    *users
	roles    *roles
	view     *View // as it is now; nil after a change
}

var (
	keyEnabled  = []byte("authEnabled")
	keyRevision = []byte("authRevision")
)

// Open reads the table from the engine.
func Open(eng engine.Engine) (*Table, error) {
	t := &Table{
		users: btree.NewBTreeGOptions(func(a, b *User) bool { return a.Name < b.Name }, btree.Options{NoLocks: true}),
		roles: btree.NewBTreeGOptions(func(a, b *Role) bool { return a.Name < b.Name }, btree.Options{NoLocks: true}),
	}
	var bad error
	scan := func(s engine.Space, take func(k, v []byte) error) {
		err := eng.Scan(s, nil, nil, func(k, v []byte) bool {
			if bad = take(k, v); bad != nil {
				bad = fmt.Errorf("auth: record %q of %s: %w", k, s.Bucket(), bad)
			}
			return bad == nil
		})
		if bad == nil {
			bad = err
		}
	}
	scan(engine.Auth, t.setting)
	if bad == nil {
		scan(engine.AuthUsers, func(k, v []byte) error {
			u, err := parseUser(v)
			if err == nil && u.Name != string(k) {
				err = fmt.Errorf("it is that of %q", u.Name)
			}
			t.users.Set(u)
			return err
		})
	}
	if bad == nil {
		scan(engine.AuthRoles, func(k, v []byte) error {
			r, err := parseRole(v)
			if err == nil && r.Name != string(k) {
				err = fmt.Errorf("it is that of %q", r.Name)
			}
			t.roles.Set(r)
			return err
		})
	}
	return t, bad
}

var errMalformed = errors.New("malformed")

func (t *Table) setting(k, v []byte) error {
	switch string(k) {
	case string(keyEnabled):
		if len(v) != 1 {
			return errMalformed
		}
		t.enabled = v[0] == 1
	case string(keyRevision):
		if len(v) != 8 {
			return errMalformed
		}
		t.revision = binary.BigEndian.Uint64(v)
	}
	return nil
}

func parseUser(b []byte) (*User, error) {
	p := &authpb.User{}
	if err := proto.Unmarshal(b, p); err != nil {
		return &User{}, err
	}
	u := &User{Name: string(p.Name), Hash: p.Password, Roles: p.Roles, NoPassword: p.GetOptions().GetNoPassword()}
	slices.Sort(u.Roles)
	return u, nil
}

func parseRole(b []byte) (*Role, error) {
	p := &authpb.Role{}
	if err := proto.Unmarshal(b, p); err != nil {
		return &Role{}, err
	}
	var perms []Permission
	for _, x := range p.KeyPermission {
		perms = append(perms, Permission{x.GetPermType(), x.GetKey(), x.GetRangeEnd()})
	}
	return newRole(string(p.Name), perms), nil
}

func newRole(name string, perms []Permission) *Role {
	r := &Role{Name: name, Permissions: perms}
	for _, p := range perms {
		if p.Type == authpb.READ || p.Type == authpb.READWRITE {
			r.read = append(r.read, wire.ParseRange(p.Key, p.End))
		}
		if p.Type == authpb.WRITE || p.Type == authpb.READWRITE {
			r.write = append(r.write, wire.ParseRange(p.Key, p.End))
		}
	}
	r.read, r.write = r.read.merged(), r.write.merged()
	return r
}

func (t *Table) putUser(b engine.Batch, u *User) {
	t.view = nil
	t.users.Set(u)
	b.Set(engine.AuthUsers, []byte(u.Name), marshal(&authpb.User{Name: []byte(u.Name), Password: u.Hash, Roles: u.Roles,
		Options: &authpb.UserAddOptions{NoPassword: u.NoPassword}}))
}

func (t *Table) putRole(b engine.Batch, r *Role) {
	t.view = nil
	t.roles.Set(r)
	p := &authpb.Role{Name: []byte(r.Name)}
	for _, x := range r.Permissions {
		p.KeyPermission = append(p.KeyPermission, &authpb.Permission{PermType: x.Type, Key: x.Key, RangeEnd: x.End})
	}
	b.Set(engine.AuthRoles, []byte(r.Name), marshal(p))
}

func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // the messages of this package can be marshalled
	}
	return b
}

func (t *Table) setRevision(b engine.Batch, n uint64) {
	t.view, t.revision = nil, n
	b.Set(engine.Auth, keyRevision, binary.BigEndian.AppendUint64(nil, n))
}

func (t *Table) setEnabled(b engine.Batch, on bool) {
	t.view, t.enabled = nil, on
	v := []byte{0}
	if on {
		v[0] = 1
	}
	b.Set(engine.Auth, keyEnabled, v)
}

// changed counts a change that makes earlier identities old.
func (t *Table) changed(b engine.Batch) { t.setRevision(b, t.revision+1) }

// Initialise gives a new store its first revision.
func (t *Table) Initialise(b engine.Batch) { t.setRevision(b, 1) }

// cover is ranges of keys that do not touch, in order.
type cover []wire.Range

// merged puts ranges in order and joins those that overlap or touch.
func (c cover) merged() cover {
	sort.Slice(c, func(i, j int) bool { return c[i].Lo < c[j].Lo })
	var out cover
	for _, r := range c {
		if r.Empty() {
			continue
		}
		if n := len(out); n > 0 && (out[n-1].Hi == "" || r.Lo <= out[n-1].Hi) {
			if last := &out[n-1]; last.Hi != "" && (r.Hi == "" || r.Hi > last.Hi) {
				last.Hi = r.Hi
			}
			continue
		}
		out = append(out, r)
	}
	return out
}

// from is how far the range reaches that holds a key; ok is false if there is none.
func (c cover) from(key string) (hi string, ok bool) {
	i := sort.Search(len(c), func(i int) bool { return c[i].Lo > key }) - 1
	if i < 0 || !c[i].Contains(key) {
		return "", false
	}
	return c[i].Hi, true
}
