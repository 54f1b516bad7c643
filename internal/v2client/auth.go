package v2client

import (
	"context"
	"encoding/json"
	"net/http"
)

const (
	enablePath = "/v2/auth/enable"
	usersPath  = "/v2/auth/users"
	rolesPath  = "/v2/auth/roles"
)

// User is a user with the names of its roles.
type User struct {
	Name  string
	Roles []string
}

// UnmarshalJSON reads both forms that servers have: roles by their names, and whole ones.
func (u *User) UnmarshalJSON(b []byte) error {
	var in struct {
		User  string            `json:"user"`
		Roles []json.RawMessage `json:"roles"`
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*u = User{Name: in.User}
	for _, raw := range in.Roles {
		var name string
		if json.Unmarshal(raw, &name) != nil {
			var r Role
			if err := json.Unmarshal(raw, &r); err != nil {
				return err
			}
			name = r.Name
		}
		u.Roles = append(u.Roles, name)
	}
	return nil
}

// Role is a role with what it may do with keys.
type Role struct {
	Name        string      `json:"role"`
	Permissions Permissions `json:"permissions"`
}

// Permissions are what a role may do.
type Permissions struct {
	KV Access `json:"kv"`
}

// Access is patterns of keys.
type Access struct {
	Read  []string `json:"read"`
	Write []string `json:"write"`
}

// secret is a body with something that is not to be shown.
type secret interface{ shown() string }

// userChange is what a user is changed by.
type userChange struct {
	User     string   `json:"user"`
	Password string   `json:"password,omitempty"`
	Roles    []string `json:"roles"`
	Grant    []string `json:"grant,omitempty"`
	Revoke   []string `json:"revoke,omitempty"`
}

func (u userChange) shown() string {
	if u.Password == "" {
		return ""
	}
	u.Password = "***"
	b, err := json.Marshal(u)
	if err != nil {
		panic(err) // strings have a JSON form
	}
	return string(b)
}

// roleChange is what a role is changed by.
type roleChange struct {
	Role
	Grant  *Permissions `json:"grant,omitempty"`
	Revoke *Permissions `json:"revoke,omitempty"`
}

// AuthEnabled says whether users and roles count.
func (c *Client) AuthEnabled(ctx context.Context) (bool, error) {
	var out struct {
		Enabled bool `json:"enabled"`
	}
	err := c.call(ctx, http.MethodGet, enablePath, nil, &out, http.StatusOK)
	return out.Enabled, err
}

// EnableAuth makes users and roles count.
func (c *Client) EnableAuth(ctx context.Context) error {
	return c.call(ctx, http.MethodPut, enablePath, nil, nil, http.StatusOK, http.StatusCreated)
}

// DisableAuth lets everybody do everything again.
func (c *Client) DisableAuth(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, enablePath, nil, nil, http.StatusOK, http.StatusCreated)
}

// Users lists the users in the server's order.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var out struct {
		Users []User `json:"users"`
	}
	err := c.call(ctx, http.MethodGet, usersPath, nil, &out, http.StatusOK)
	return out.Users, err
}

// User reads one user.
func (c *Client) User(ctx context.Context, name string) (*User, error) {
	at, err := below(usersPath, name)
	if err != nil {
		return nil, err
	}
	u := &User{}
	if err := c.call(ctx, http.MethodGet, at, nil, u, http.StatusOK); err != nil {
		return nil, err
	}
	return u, nil
}

// PutUser makes a user, or gives one that is there a new password.
func (c *Client) PutUser(ctx context.Context, name, password string) error {
	return c.changeUser(ctx, userChange{User: name, Password: password})
}

// GrantUser gives roles to a user.
func (c *Client) GrantUser(ctx context.Context, name string, roles []string) error {
	return c.changeUser(ctx, userChange{User: name, Grant: roles})
}

// RevokeUser takes roles from a user.
func (c *Client) RevokeUser(ctx context.Context, name string, roles []string) error {
	return c.changeUser(ctx, userChange{User: name, Revoke: roles})
}

func (c *Client) changeUser(ctx context.Context, change userChange) error {
	at, err := below(usersPath, change.User)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, at, change, nil, http.StatusOK, http.StatusCreated)
}

// RemoveUser removes a user.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	at, err := below(usersPath, name)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, at, nil, nil, http.StatusOK)
}

// Roles lists the roles in the server's order.
func (c *Client) Roles(ctx context.Context) ([]Role, error) {
	var out struct {
		Roles []Role `json:"roles"`
	}
	err := c.call(ctx, http.MethodGet, rolesPath, nil, &out, http.StatusOK)
	return out.Roles, err
}

// Role reads one role.
func (c *Client) Role(ctx context.Context, name string) (*Role, error) {
	at, err := below(rolesPath, name)
	if err != nil {
		return nil, err
	}
	r := &Role{}
	if err := c.call(ctx, http.MethodGet, at, nil, r, http.StatusOK); err != nil {
		return nil, err
	}
	return r, nil
}

// AddRole makes a role that may do nothing yet.
func (c *Client) AddRole(ctx context.Context, name string) error {
	return c.changeRole(ctx, roleChange{Role: Role{Name: name}})
}

// GrantRole lets a role do more.
func (c *Client) GrantRole(ctx context.Context, name string, more Access) error {
	return c.changeRole(ctx, roleChange{Role: Role{Name: name}, Grant: &Permissions{more}})
}

// RevokeRole lets a role do less.
func (c *Client) RevokeRole(ctx context.Context, name string, less Access) error {
	return c.changeRole(ctx, roleChange{Role: Role{Name: name}, Revoke: &Permissions{less}})
}

func (c *Client) changeRole(ctx context.Context, change roleChange) error {
	at, err := below(rolesPath, change.Name)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPut, at, change, nil, http.StatusOK, http.StatusCreated)
}

// RemoveRole removes a role.
func (c *Client) RemoveRole(ctx context.Context, name string) error {
	at, err := below(rolesPath, name)
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodDelete, at, nil, nil, http.StatusOK)
}
