package machine

import (
	"encoding/base64"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Login is a token that a user was given, at the same place of the log on every member.
type Login struct{ User, Token string }

// Logout ends the tokens of a user, of all users if there is no name.
type Logout struct{ User string }

// Sessions are what happened to tokens, in order: each is a Login or a Logout.
type Sessions []any

// identity is whom a command comes from.
func identity(c *wire.Command) auth.Identity {
	return auth.Identity{User: c.User, Revision: c.AuthRevision}
}

// PutNeeds are what a put reads and writes: with the key of the put all those that its lease can end.
func PutNeeds(out []auth.Need, p *wire.PutRequest, leases lease.View) []auth.Need {
	key := wire.One(string(p.Key))
	out = append(out, auth.Write(key))
	if p.PrevKV {
		out = append(out, auth.Read(key))
	}
	if p.Lease != 0 {
		out = LeaseNeeds(out, leases, p.Lease, true)
	}
	return out
}

// DeleteNeeds are what a delete reads and writes.
func DeleteNeeds(out []auth.Need, d *wire.DeleteRequest) []auth.Need {
	r := wire.ParseRange(d.Key, d.End)
	out = append(out, auth.Write(r))
	if d.PrevKV {
		out = append(out, auth.Read(r))
	}
	return out
}

// TxnNeeds are what a txn reads and writes, whichever branches run.
func TxnNeeds(out []auth.Need, t *wire.TxnRequest, leases lease.View) []auth.Need {
	for i := range t.Compare {
		out = append(out, auth.Read(wire.ParseRange(t.Compare[i].Key, t.Compare[i].End)))
	}
	for _, branch := range [][]wire.Op{t.Success, t.Failure} {
		for _, op := range branch {
			switch {
			case op.Range != nil:
				out = append(out, auth.Read(wire.ParseRange(op.Range.Key, op.Range.End)))
			case op.Put != nil:
				out = PutNeeds(out, op.Put, leases)
			case op.Delete != nil:
				out = DeleteNeeds(out, op.Delete)
			case op.Txn != nil:
				out = TxnNeeds(out, op.Txn, leases)
			}
		}
	}
	return out
}

// LeaseNeeds are the keys of a lease, to be read or written.
func LeaseNeeds(out []auth.Need, leases lease.View, id int64, write bool) []auth.Need {
	for _, k := range leases.Keys(id) {
		out = append(out, auth.Need{Range: wire.One(k), Write: write})
	}
	return out
}

// managed are the commands that only an administrator may send, once there are administrators.
func managed(k wire.Kind) bool {
	switch k {
	case wire.KindAuthEnable, wire.KindAuthDisable, wire.KindAuthUserAdd, wire.KindAuthUserDelete, wire.KindAuthUserChangePassword, wire.KindAuthUserGrantRole,
		wire.KindAuthUserRevokeRole, wire.KindAuthRoleAdd, wire.KindAuthRoleDelete, wire.KindAuthRoleGrantPermission, wire.KindAuthRoleRevokePermission:
		return true
	}
	return false
}

// request decodes a command's body.
func request[M any, P interface {
	*M
	proto.Message
}](c *wire.Command) (P, error) {
	q := P(new(M))
	return q, unmarshal(c, q)
}

// authCommand changes users, roles and permissions. It reports whether the command is one of those.
func (m *Machine) authCommand(c *wire.Command, r *Result, eff *Effects) bool {
	logout := func(name string) {
		if r.Err == nil {
			eff.Sessions = append(eff.Sessions, Logout{name})
		}
	}
	switch c.Kind {
	case wire.KindAuthEnable:
		r.Err = m.auth.Enable(m.batch)
	case wire.KindAuthDisable:
		if m.auth.Disable(m.batch) {
			logout("")
		}
	case wire.KindAuthenticate:
		q, err := request[pb.InternalAuthenticateRequest](c)
		if r.Err = err; err == nil {
			r.Token, r.Err = m.login(q)
		}
		if r.Err == nil && r.Token != "" {
			eff.Sessions = append(eff.Sessions, Login{q.Name, r.Token})
		}
	case wire.KindAuthUserAdd:
		q, err := request[pb.AuthUserAddRequest](c)
		if r.Err = err; err == nil {
			var hash []byte
			if hash, r.Err = decodeHash(q.HashedPassword); r.Err == nil {
				r.Err = m.auth.AddUser(m.batch, auth.User{Name: q.Name, Hash: hash, NoPassword: q.GetOptions().GetNoPassword()})
			}
		}
	case wire.KindAuthUserDelete:
		q, err := request[pb.AuthUserDeleteRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.DeleteUser(m.batch, q.Name)
		}
		logout(q.Name)
	case wire.KindAuthUserChangePassword:
		q, err := request[pb.AuthUserChangePasswordRequest](c)
		if r.Err = err; err == nil {
			var hash []byte
			if hash, r.Err = decodeHash(q.HashedPassword); r.Err == nil {
				r.Err = m.auth.ChangePassword(m.batch, q.Name, hash)
			}
		}
		logout(q.Name)
	case wire.KindAuthUserGrantRole:
		q, err := request[pb.AuthUserGrantRoleRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.GrantRole(m.batch, q.User, q.Role)
		}
	case wire.KindAuthUserRevokeRole:
		q, err := request[pb.AuthUserRevokeRoleRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.RevokeRole(m.batch, q.Name, q.Role)
		}
	case wire.KindAuthRoleAdd:
		q, err := request[pb.AuthRoleAddRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.AddRole(m.batch, q.Name)
		}
	case wire.KindAuthRoleDelete:
		q, err := request[pb.AuthRoleDeleteRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.DeleteRole(m.batch, q.Role)
		}
	case wire.KindAuthRoleGrantPermission:
		q, err := request[pb.AuthRoleGrantPermissionRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.Grant(m.batch, q.Name, auth.PermissionOf(q.Perm))
		}
	case wire.KindAuthRoleRevokePermission:
		q, err := request[pb.AuthRoleRevokePermissionRequest](c)
		if r.Err = err; err == nil {
			r.Err = m.auth.Ungrant(m.batch, q.Role, q.Key, q.RangeEnd)
		}
	case wire.KindAuthStatus, wire.KindAuthUserGet, wire.KindAuthUserList, wire.KindAuthRoleGet, wire.KindAuthRoleList:
		// Members of etcd ask for these through the log, and answer by themselves.
	default:
		return false
	}
	r.AuthRevision = m.auth.View().Revision
	return true
}

// decodeHash reads a password's hash as the log has it.
func decodeHash(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, wire.ErrInvalidAuthMgmt
	}
	return b, nil
}

// login gives a user a token, if somebody has asked for one of this kind. The password was checked before.
func (m *Machine) login(q *pb.InternalAuthenticateRequest) (token string, err error) {
	v := m.auth.View()
	if !v.Enabled {
		return "", wire.ErrAuthNotEnabled
	}
	if _, ok := v.User(q.Name); !ok {
		return "", wire.ErrAuthFailed
	}
	if q.SimpleToken == "" {
		return "", nil
	}
	return q.SimpleToken + "." + strconv.FormatUint(m.at, 10), nil
}
