package client

import (
	"context"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

type (
	AuthEnableResponse               pb.AuthEnableResponse
	AuthDisableResponse              pb.AuthDisableResponse
	AuthStatusResponse               pb.AuthStatusResponse
	AuthenticateResponse             pb.AuthenticateResponse
	AuthUserAddResponse              pb.AuthUserAddResponse
	AuthUserDeleteResponse           pb.AuthUserDeleteResponse
	AuthUserChangePasswordResponse   pb.AuthUserChangePasswordResponse
	AuthUserGrantRoleResponse        pb.AuthUserGrantRoleResponse
	AuthUserGetResponse              pb.AuthUserGetResponse
	AuthUserRevokeRoleResponse       pb.AuthUserRevokeRoleResponse
	AuthUserListResponse             pb.AuthUserListResponse
	AuthRoleAddResponse              pb.AuthRoleAddResponse
	AuthRoleGrantPermissionResponse  pb.AuthRoleGrantPermissionResponse
	AuthRoleGetResponse              pb.AuthRoleGetResponse
	AuthRoleRevokePermissionResponse pb.AuthRoleRevokePermissionResponse
	AuthRoleDeleteResponse           pb.AuthRoleDeleteResponse
	AuthRoleListResponse             pb.AuthRoleListResponse

	PermissionType authpb.Permission_Type
	Permission     authpb.Permission
	UserAddOptions authpb.UserAddOptions
)

const (
	PermRead      = authpb.Permission_READ
	PermWrite     = authpb.Permission_WRITE
	PermReadWrite = authpb.Permission_READWRITE
)

// StrToPermissionType reads READ, WRITE or READWRITE in any case.
func StrToPermissionType(s string) (PermissionType, error) {
	if v, ok := authpb.Permission_Type_value[strings.ToUpper(s)]; ok {
		return PermissionType(v), nil
	}
	return -1, fmt.Errorf("invalid permission type: %s", s)
}

// Auth manages users, roles and their use. A key range in a role is [key,
// rangeEnd) as everywhere; an empty rangeEnd means the single key.
type Auth interface {
	Authenticate(ctx context.Context, name, password string) (*AuthenticateResponse, error)
	AuthEnable(ctx context.Context) (*AuthEnableResponse, error)
	AuthDisable(ctx context.Context) (*AuthDisableResponse, error)
	AuthStatus(ctx context.Context) (*AuthStatusResponse, error)
	UserAdd(ctx context.Context, name, password string) (*AuthUserAddResponse, error)
	UserAddWithOptions(ctx context.Context, name, password string, opt *UserAddOptions) (*AuthUserAddResponse, error)
	UserDelete(ctx context.Context, name string) (*AuthUserDeleteResponse, error)
	UserChangePassword(ctx context.Context, name, password string) (*AuthUserChangePasswordResponse, error)
	UserGrantRole(ctx context.Context, user, role string) (*AuthUserGrantRoleResponse, error)
	UserGet(ctx context.Context, name string) (*AuthUserGetResponse, error)
	UserList(ctx context.Context) (*AuthUserListResponse, error)
	UserRevokeRole(ctx context.Context, name, role string) (*AuthUserRevokeRoleResponse, error)
	RoleAdd(ctx context.Context, name string) (*AuthRoleAddResponse, error)
	RoleGrantPermission(ctx context.Context, name, key, rangeEnd string, perm PermissionType) (*AuthRoleGrantPermissionResponse, error)
	RoleGet(ctx context.Context, role string) (*AuthRoleGetResponse, error)
	RoleList(ctx context.Context) (*AuthRoleListResponse, error)
	RoleRevokePermission(ctx context.Context, role, key, rangeEnd string) (*AuthRoleRevokePermissionResponse, error)
	RoleDelete(ctx context.Context, role string) (*AuthRoleDeleteResponse, error)
}

type auth struct{ remote pb.AuthClient }

// NewAuth makes the auth part of a client.
func NewAuth(c *Client) Auth { return &auth{pb.NewAuthClient(c.conn)} }

// NewAuthFromAuthClient makes an Auth over a given remote.
func NewAuthFromAuthClient(remote pb.AuthClient, _ *Client) Auth { return &auth{remote} }

func (a *auth) Authenticate(ctx context.Context, name, password string) (*AuthenticateResponse, error) {
	resp, err := a.remote.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	return (*AuthenticateResponse)(resp), ContextError(ctx, err)
}

func (a *auth) AuthEnable(ctx context.Context) (*AuthEnableResponse, error) {
	resp, err := a.remote.AuthEnable(ctx, &pb.AuthEnableRequest{})
	return (*AuthEnableResponse)(resp), ContextError(ctx, err)
}

func (a *auth) AuthDisable(ctx context.Context) (*AuthDisableResponse, error) {
	resp, err := a.remote.AuthDisable(ctx, &pb.AuthDisableRequest{})
	return (*AuthDisableResponse)(resp), ContextError(ctx, err)
}

func (a *auth) AuthStatus(ctx context.Context) (*AuthStatusResponse, error) {
	resp, err := a.remote.AuthStatus(ctx, &pb.AuthStatusRequest{})
	return (*AuthStatusResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserAdd(ctx context.Context, name, password string) (*AuthUserAddResponse, error) {
	return a.UserAddWithOptions(ctx, name, password, &UserAddOptions{})
}

func (a *auth) UserAddWithOptions(ctx context.Context, name, password string, opt *UserAddOptions) (*AuthUserAddResponse, error) {
	resp, err := a.remote.UserAdd(ctx, &pb.AuthUserAddRequest{
		Name: name, Password: password, Options: (*authpb.UserAddOptions)(opt)})
	return (*AuthUserAddResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserDelete(ctx context.Context, name string) (*AuthUserDeleteResponse, error) {
	resp, err := a.remote.UserDelete(ctx, &pb.AuthUserDeleteRequest{Name: name})
	return (*AuthUserDeleteResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserChangePassword(ctx context.Context, name, password string) (*AuthUserChangePasswordResponse, error) {
	resp, err := a.remote.UserChangePassword(ctx, &pb.AuthUserChangePasswordRequest{Name: name, Password: password})
	return (*AuthUserChangePasswordResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserGrantRole(ctx context.Context, user, role string) (*AuthUserGrantRoleResponse, error) {
	resp, err := a.remote.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: role})
	return (*AuthUserGrantRoleResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserGet(ctx context.Context, name string) (*AuthUserGetResponse, error) {
	resp, err := a.remote.UserGet(ctx, &pb.AuthUserGetRequest{Name: name})
	return (*AuthUserGetResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserList(ctx context.Context) (*AuthUserListResponse, error) {
	resp, err := a.remote.UserList(ctx, &pb.AuthUserListRequest{})
	return (*AuthUserListResponse)(resp), ContextError(ctx, err)
}

func (a *auth) UserRevokeRole(ctx context.Context, name, role string) (*AuthUserRevokeRoleResponse, error) {
	resp, err := a.remote.UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: name, Role: role})
	return (*AuthUserRevokeRoleResponse)(resp), ContextError(ctx, err)
}

func (a *auth) RoleAdd(ctx context.Context, name string) (*AuthRoleAddResponse, error) {
	resp, err := a.remote.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: name})
	return (*AuthRoleAddResponse)(resp), ContextError(ctx, err)
}

func (a *auth) RoleGrantPermission(ctx context.Context, name, key, rangeEnd string, perm PermissionType) (*AuthRoleGrantPermissionResponse, error) {
	p := &authpb.Permission{Key: []byte(key), RangeEnd: []byte(rangeEnd), PermType: authpb.Permission_Type(perm)}
	resp, err := a.remote.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: name, Perm: p})
	return (*AuthRoleGrantPermissionResponse)(resp), ContextError(ctx, err)
}

func (a *auth) RoleGet(ctx context.Context, role string) (*AuthRoleGetResponse, error) {
	resp, err := a.remote.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: role})
	return (*AuthRoleGetResponse)(resp), ContextError(ctx, err)
}

func (a *auth) RoleList(ctx context.Context) (*AuthRoleListResponse, error) {
	resp, err := a.remote.RoleList(ctx, &pb.AuthRoleListRequest{})
	return (*AuthRoleListResponse)(resp), ContextError(ctx, err)
}

func (a *auth) RoleRevokePermission(ctx context.Context, role, key, rangeEnd string) (*AuthRoleRevokePermissionResponse, error) {
	resp, err := a.remote.RoleRevokePermission(ctx, &pb.AuthRoleRevokePermissionRequest{
		Role: role, Key: []byte(key), RangeEnd: []byte(rangeEnd)})
	return (*AuthRoleRevokePermissionResponse)(resp), ContextError(ctx, err)
}

func (a *auth) RoleDelete(ctx context.Context, role string) (*AuthRoleDeleteResponse, error) {
	resp, err := a.remote.RoleDelete(ctx, &pb.AuthRoleDeleteRequest{Role: role})
	return (*AuthRoleDeleteResponse)(resp), ContextError(ctx, err)
}
