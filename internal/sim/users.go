package sim

import (
	"encoding/base64"
	"fmt"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/wire"
)

// changeUsers changes users, roles or permissions, as somebody. All clients of the run are members' own: authentication may
// come and go under them.
func (s *system) changeUsers(m *member) {
	user, role := pick(s.w, []string{"root", "ann", "eve"}), pick(s.w, []string{"root", "r", "q"})
	key := []byte(keyName(s.w.rng.IntN(keyCount)))
	hash := base64.StdEncoding.EncodeToString([]byte("hash"))
	var kind wire.Kind
	var q proto.Message
	switch s.w.rng.IntN(12) {
	case 0:
		kind, q = wire.KindAuthUserAdd, &pb.AuthUserAddRequest{Name: user, HashedPassword: hash, Options: &authpb.UserAddOptions{}}
	case 1:
		kind, q = wire.KindAuthUserDelete, &pb.AuthUserDeleteRequest{Name: user}
	case 2:
		kind, q = wire.KindAuthUserChangePassword, &pb.AuthUserChangePasswordRequest{Name: user, HashedPassword: hash}
	case 3, 4:
		kind, q = wire.KindAuthUserGrantRole, &pb.AuthUserGrantRoleRequest{User: user, Role: role}
	case 5:
		kind, q = wire.KindAuthUserRevokeRole, &pb.AuthUserRevokeRoleRequest{Name: user, Role: role}
	case 6:
		kind, q = wire.KindAuthRoleAdd, &pb.AuthRoleAddRequest{Name: role}
	case 7:
		kind, q = wire.KindAuthRoleDelete, &pb.AuthRoleDeleteRequest{Role: role}
	case 8:
		kind, q = wire.KindAuthRoleGrantPermission, &pb.AuthRoleGrantPermissionRequest{Name: role,
			Perm: &authpb.Permission{PermType: authpb.READWRITE, Key: key, RangeEnd: pick(s.w, [][]byte{nil, {0}, []byte("k9")})}}
	case 9:
		kind, q = wire.KindAuthEnable, &pb.AuthEnableRequest{}
	case 10:
		kind, q = wire.KindAuthDisable, &pb.AuthDisableRequest{}
	default:
		kind, q = wire.KindAuthenticate, &pb.InternalAuthenticateRequest{Name: user, SimpleToken: fmt.Sprint("t", s.w.rng.IntN(1000))}
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(q)
	must(err)
	m.enqueueAs(s.someone(), kind, body)
}

// putAs writes a key that nobody else does, as somebody who may not be allowed to.
func (s *system) putAs(m *member) {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&pb.PutRequest{Key: []byte("user/" + fmt.Sprint(s.w.rng.IntN(3))), Value: []byte("v")})
	must(err)
	m.enqueueAs(s.someone(), wire.KindPut, body)
}

// someone is whom a request comes from, as of now or of a while ago.
func (s *system) someone() auth.Identity {
	rev := s.truth.machine.View().Auth.Revision
	return auth.Identity{User: pick(s.w, []string{"root", "root", "ann", "eve", ""}), Revision: rev - uint64(s.w.rng.IntN(2))}
}

func (m *member) enqueueAs(id auth.Identity, kind wire.Kind, body []byte) {
	data := wire.AppendCommand(nil, &wire.Command{ID: m.s.nextRequest(), Kind: kind, Body: body, User: id.User, AuthRevision: id.Revision})
	m.enqueue(&ticket{data: data, id: m.s.requests})
}
