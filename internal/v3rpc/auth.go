package v3rpc

import (
	"context"
	"encoding/base64"
	"net"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/password"
	"github.com/cairn-kv/cairn/internal/wire"
)

// authServer manages users, roles and permissions. Who may do so is judged when a change is applied.
type authServer struct {
	pb.UnimplementedAuthServer
	*core
}

// change puts a change into the log.
func (s *authServer) change(ctx context.Context, kind wire.Kind, q proto.Message) (*pb.ResponseHeader, error) {
	res, err := s.proposeMessage(ctx, kind, q)
	if err != nil {
		return nil, err
	}
	return s.message(res.Rev), nil
}

// AuthEnable needs nobody in particular: nobody could be known yet.
func (s *authServer) AuthEnable(ctx context.Context, q *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	h, err := s.change(ctx, wire.KindAuthEnable, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthEnableResponse{Header: h}, nil
}

func (s *authServer) AuthDisable(ctx context.Context, q *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	h, err := s.change(ctx, wire.KindAuthDisable, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthDisableResponse{Header: h}, nil
}

// AuthStatus is told to everybody, but for those with a token that is none.
func (s *authServer) AuthStatus(ctx context.Context, _ *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	if err := s.Read(ctx); err != nil {
		return nil, err
	}
	if _, err := s.identify(ctx); err != nil {
		return nil, err
	}
	v := s.View().Auth
	return &pb.AuthStatusResponse{Header: s.message(0), Enabled: v.Enabled, AuthRevision: v.Revision}, nil
}

// Authenticate checks a password and gives out a token. The log does not learn the password. If users change between the check
// and the login, it is checked again.
func (s *authServer) Authenticate(ctx context.Context, q *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	if err := s.Read(ctx); err != nil {
		return nil, err
	}
	for {
		v := s.View().Auth
		if !v.Enabled {
			return nil, wire.ErrAuthNotEnabled
		}
		if err := s.checkPassword(ctx, v, q); err != nil {
			return nil, err
		}
		prefix, err := s.cfg.Tokens.Prefix()
		if err != nil {
			return nil, err
		}
		body, err := proto.Marshal(&pb.InternalAuthenticateRequest{Name: q.Name, SimpleToken: prefix})
		if err != nil {
			return nil, err
		}
		res, err := s.ProposeAs(ctx, auth.Identity{}, wire.KindAuthenticate, body)
		switch {
		case err != nil:
			return nil, err
		case res.AuthRevision != v.Revision:
			continue
		case res.Token == "":
			if res.Token, err = s.cfg.Tokens.Issue(q.Name, res.AuthRevision); err != nil {
				return nil, err
			}
		}
		return &pb.AuthenticateResponse{Header: s.message(res.Rev), Token: res.Token}, nil
	}
}

func (s *authServer) checkPassword(ctx context.Context, v *auth.View, q *pb.AuthenticateRequest) error {
	a := password.Attempt{User: q.Name, Password: q.Password}
	from, _ := source(ctx)
	a.Address, _, _ = net.SplitHostPort(from)
	if u, ok := v.User(q.Name); ok {
		if u.NoPassword {
			return wire.ErrNoPasswordUser
		}
		a.Hash = string(u.Hash)
	}
	right, err := s.cfg.Passwords.Check(ctx, a)
	switch {
	case err == password.ErrTooMany:
		return wire.ErrTooManyRequests
	case err == nil && !right:
		return wire.ErrAuthFailed
	}
	return err
}

// hash is what the log learns of a password.
func (s *authServer) hash(ctx context.Context, text string) (string, error) {
	h, err := s.cfg.Passwords.Hash(ctx, text)
	return base64.StdEncoding.EncodeToString([]byte(h)), err
}

// UserAdd hashes the password first: the log, and whoever reads it, must not learn it. What the caller may do is looked at
// before that, as hashing is work.
func (s *authServer) UserAdd(ctx context.Context, q *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	in := &pb.AuthUserAddRequest{Name: q.Name, Options: q.Options} // a hash that a client sends is passed over
	if in.Options == nil {
		in.Options = &authpb.UserAddOptions{}
	}
	if !in.Options.NoPassword {
		var err error
		if in.HashedPassword, err = s.hash(ctx, q.Password); err != nil {
			return nil, err
		}
	}
	h, err := s.change(ctx, wire.KindAuthUserAdd, in)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserAddResponse{Header: h}, nil
}

// UserChangePassword with an empty password leaves none that anybody could log in with.
func (s *authServer) UserChangePassword(ctx context.Context, q *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	in := &pb.AuthUserChangePasswordRequest{Name: q.Name}
	if q.Password != "" {
		var err error
		if in.HashedPassword, err = s.hash(ctx, q.Password); err != nil {
			return nil, err
		}
	}
	h, err := s.change(ctx, wire.KindAuthUserChangePassword, in)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserChangePasswordResponse{Header: h}, nil
}

func (s *authServer) UserDelete(ctx context.Context, q *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	h, err := s.change(ctx, wire.KindAuthUserDelete, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserDeleteResponse{Header: h}, nil
}

func (s *authServer) UserGrantRole(ctx context.Context, q *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	h, err := s.change(ctx, wire.KindAuthUserGrantRole, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserGrantRoleResponse{Header: h}, nil
}

func (s *authServer) UserRevokeRole(ctx context.Context, q *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	h, err := s.change(ctx, wire.KindAuthUserRevokeRole, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserRevokeRoleResponse{Header: h}, nil
}

func (s *authServer) RoleAdd(ctx context.Context, q *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	h, err := s.change(ctx, wire.KindAuthRoleAdd, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleAddResponse{Header: h}, nil
}

func (s *authServer) RoleDelete(ctx context.Context, q *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	h, err := s.change(ctx, wire.KindAuthRoleDelete, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleDeleteResponse{Header: h}, nil
}

func (s *authServer) RoleGrantPermission(ctx context.Context, q *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	h, err := s.change(ctx, wire.KindAuthRoleGrantPermission, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleGrantPermissionResponse{Header: h}, nil
}

func (s *authServer) RoleRevokePermission(ctx context.Context, q *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	h, err := s.change(ctx, wire.KindAuthRoleRevokePermission, q)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleRevokePermissionResponse{Header: h}, nil
}

// look is the state that a caller asks about, and whom the call comes from. may passes over the rule that only
// administrators look.
func (s *authServer) look(ctx context.Context, may func(*auth.View, auth.Identity) bool) (*machine.View, error) {
	if err := s.Read(ctx); err != nil {
		return nil, err
	}
	id, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	v := s.View()
	if may(v.Auth, id) {
		return v, nil
	}
	return v, v.Auth.Admin(id)
}

func (s *authServer) header(v *machine.View) *pb.ResponseHeader {
	return s.message(v.KV.Rev())
}

// UserGet is for administrators, and for the user.
func (s *authServer) UserGet(ctx context.Context, q *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	v, err := s.look(ctx, func(_ *auth.View, id auth.Identity) bool { return id.User == q.Name }) // there is no user without a name
	if err != nil {
		return nil, err
	}
	u, ok := v.Auth.User(q.Name)
	if !ok {
		return nil, wire.ErrUserNotFound
	}
	return &pb.AuthUserGetResponse{Header: s.header(v), Roles: u.Roles}, nil
}

func nobodyElse(*auth.View, auth.Identity) bool { return false }

func (s *authServer) UserList(ctx context.Context, _ *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	v, err := s.look(ctx, nobodyElse)
	if err != nil {
		return nil, err
	}
	return &pb.AuthUserListResponse{Header: s.header(v), Users: v.Auth.Users()}, nil
}

// RoleGet is for administrators, and for those who have the role.
func (s *authServer) RoleGet(ctx context.Context, q *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	v, err := s.look(ctx, func(v *auth.View, id auth.Identity) bool { return v.Has(id, q.Role) })
	if err != nil {
		return nil, err
	}
	role, ok := v.Auth.Role(q.Role)
	if !ok {
		return nil, wire.ErrRoleNotFound
	}
	perms := role.Permissions
	if q.Role == auth.Root {
		perms = []auth.Permission{auth.Everything}
	}
	r := &pb.AuthRoleGetResponse{Header: s.header(v)}
	for _, p := range perms {
		r.Perm = append(r.Perm, &authpb.Permission{PermType: p.Type, Key: p.Key, RangeEnd: p.End})
	}
	return r, nil
}

func (s *authServer) RoleList(ctx context.Context, _ *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	v, err := s.look(ctx, nobodyElse)
	if err != nil {
		return nil, err
	}
	return &pb.AuthRoleListResponse{Header: s.header(v), Roles: v.Auth.Roles()}, nil
}
