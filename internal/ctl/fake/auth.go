package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// authState is users with their roles, and roles with their permissions. Tokens
// are given out but only checked where a test's Hook does so.
type authState struct {
	enabled   bool
	passwords map[string]string
	users     map[string][]string
	roles     map[string][]*authpb.Permission
	tokens    int
}

func (a *authState) init() {
	a.passwords, a.users, a.roles = map[string]string{}, map[string][]string{}, map[string][]*authpb.Permission{}
}

// EnableAuth turns auth on without the checks of AuthEnable.
func (s *Server) EnableAuth() { s.auth.enabled = true }

// SetUser makes a user with a password and roles.
func (s *Server) SetUser(name, password string, roles ...string) {
	s.auth.passwords[name], s.auth.users[name] = password, roles
}

func (s *Server) Authenticate(_ context.Context, r *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p, ok := s.auth.passwords[r.Name]; {
	case !s.auth.enabled:
		return nil, rpctypes.ErrGRPCAuthNotEnabled
	case !ok || p != r.Password:
		return nil, rpctypes.ErrGRPCAuthFailed
	}
	s.auth.tokens++
	return &pb.AuthenticateResponse{Header: s.header(), Token: fmt.Sprintf("token-%d", s.auth.tokens)}, nil
}

func (s *Server) AuthEnable(context.Context, *pb.AuthEnableRequest) (*pb.AuthEnableResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	roles, ok := s.auth.users["root"]
	switch {
	case !ok:
		return nil, rpctypes.ErrGRPCRootUserNotExist
	case !slices.Contains(roles, "root"):
		return nil, rpctypes.ErrGRPCRootRoleNotExist
	}
	s.auth.enabled = true
	return &pb.AuthEnableResponse{Header: s.header()}, nil
}

func (s *Server) AuthDisable(context.Context, *pb.AuthDisableRequest) (*pb.AuthDisableResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.enabled = false
	return &pb.AuthDisableResponse{Header: s.header()}, nil
}

func (s *Server) AuthStatus(context.Context, *pb.AuthStatusRequest) (*pb.AuthStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.AuthStatusResponse{Header: s.header(), Enabled: s.auth.enabled, AuthRevision: 5}, nil
}

func (s *Server) UserAdd(_ context.Context, r *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.auth.users[r.Name]; ok {
		return nil, rpctypes.ErrGRPCUserAlreadyExist
	}
	s.auth.users[r.Name], s.auth.passwords[r.Name] = nil, r.Password
	return &pb.AuthUserAddResponse{Header: s.header()}, nil
}

func (s *Server) UserGet(_ context.Context, r *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	roles, ok := s.auth.users[r.Name]
	if !ok {
		return nil, rpctypes.ErrGRPCUserNotFound
	}
	return &pb.AuthUserGetResponse{Header: s.header(), Roles: roles}, nil
}

func (s *Server) UserList(context.Context, *pb.AuthUserListRequest) (*pb.AuthUserListResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.AuthUserListResponse{Header: s.header(), Users: slices.Sorted(maps.Keys(s.auth.users))}, nil
}

func (s *Server) UserDelete(_ context.Context, r *pb.AuthUserDeleteRequest) (*pb.AuthUserDeleteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.auth.users, r.Name)
	return &pb.AuthUserDeleteResponse{Header: s.header()}, nil
}

func (s *Server) UserChangePassword(_ context.Context, r *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.passwords[r.Name] = r.Password
	return &pb.AuthUserChangePasswordResponse{Header: s.header()}, nil
}

func (s *Server) UserGrantRole(_ context.Context, r *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.users[r.User] = append(s.auth.users[r.User], r.Role)
	return &pb.AuthUserGrantRoleResponse{Header: s.header()}, nil
}

func (s *Server) UserRevokeRole(_ context.Context, r *pb.AuthUserRevokeRoleRequest) (*pb.AuthUserRevokeRoleResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.auth.users[r.Name], r.Role) {
		return nil, rpctypes.ErrGRPCRoleNotGranted
	}
	return &pb.AuthUserRevokeRoleResponse{Header: s.header()}, nil
}

func (s *Server) RoleAdd(_ context.Context, r *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.auth.roles[r.Name]; ok {
		return nil, rpctypes.ErrGRPCRoleAlreadyExist
	}
	s.auth.roles[r.Name] = nil
	return &pb.AuthRoleAddResponse{Header: s.header()}, nil
}

func (s *Server) RoleGrantPermission(_ context.Context, r *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.roles[r.Name] = append(s.auth.roles[r.Name], r.Perm)
	return &pb.AuthRoleGrantPermissionResponse{Header: s.header()}, nil
}

func (s *Server) RoleGet(_ context.Context, r *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	perms, ok := s.auth.roles[r.Role]
	if !ok {
		return nil, rpctypes.ErrGRPCRoleNotFound
	}
	return &pb.AuthRoleGetResponse{Header: s.header(), Perm: perms}, nil
}

func (s *Server) RoleList(context.Context, *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.AuthRoleListResponse{Header: s.header(), Roles: slices.Sorted(maps.Keys(s.auth.roles))}, nil
}

func (s *Server) RoleRevokePermission(context.Context, *pb.AuthRoleRevokePermissionRequest) (*pb.AuthRoleRevokePermissionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &pb.AuthRoleRevokePermissionResponse{Header: s.header()}, nil
}

func (s *Server) RoleDelete(_ context.Context, r *pb.AuthRoleDeleteRequest) (*pb.AuthRoleDeleteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.auth.roles[r.Role]; !ok {
		return nil, rpctypes.ErrGRPCRoleNotFound
	}
	delete(s.auth.roles, r.Role)
	return &pb.AuthRoleDeleteResponse{Header: s.header()}, nil
}
