package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/authpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (a *app) authCommand() *cobra.Command {
	return group("auth", "Enable or disable authentication",
		a.authSwitch("enable", "Enables authentication", "Authentication Enabled", enableAuth),
		a.authSwitch("disable", "Disables authentication", "Authentication Disabled",
			func(ctx context.Context, c *client.Client) error {
				_, err := c.AuthDisable(ctx)
				return err
			}),
		a.authStatus())
}

func noArguments(args []string, name string) error {
	if len(args) > 0 {
		return badArgs("auth %s command does not accept any arguments", name)
	}
	return nil
}

func (a *app) authSwitch(name, short, done string, call func(context.Context, *client.Client) error) *cobra.Command {
	return &cobra.Command{
		Use:   name,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArguments(args, name); err != nil {
				return err
			}
			_, c, err := a.session(cmd, plain)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			if err := call(ctx, c); err != nil {
				return err
			}
			fmt.Fprintln(a.Stdout, done)
			return nil
		},
	}
}

// enableAuth gives user root the role root when that is all that is missing.
func enableAuth(ctx context.Context, c *client.Client) error {
	_, err := c.AuthEnable(ctx)
	if !errors.Is(err, rpctypes.ErrRootRoleNotExist) {
		return err
	}
	if _, err := c.RoleAdd(ctx, "root"); err != nil && !errors.Is(err, rpctypes.ErrRoleAlreadyExist) {
		return err
	}
	if _, err := c.UserGrantRole(ctx, "root", "root"); err != nil {
		return err
	}
	_, err = c.AuthEnable(ctx)
	return err
}

func (a *app) authStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Returns authentication status",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := noArguments(args, "status"); err != nil {
				return err
			}
			out, c, err := a.session(cmd, simple|asJSON|protobuf)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			r, err := c.AuthStatus(ctx)
			if err != nil {
				return err
			}
			resp := (*pb.AuthStatusResponse)(r)
			return out.print(view{
				simple: func(t *text) {
					t.line("Authentication Status: %t", resp.Enabled)
					t.line("AuthRevision: %d", resp.AuthRevision)
				},
				json:  resp,
				proto: resp,
			})
		},
	}
}

// rangeText writes the range of a permission as people read it.
func rangeText(key, end []byte) string {
	switch {
	case len(end) == 0:
		return string(key)
	case len(end) == 1 && end[0] == 0:
		// The stored form of "everything" begins at the zero byte.
		if len(key) == 1 && key[0] == 0 {
			key = nil
		}
		return fmt.Sprintf("[%s, <open ended>", key)
	}
	text := fmt.Sprintf("[%s, %s)", key, end)
	if len(key) > 0 && string(client.PrefixRangeEnd(key)) == string(end) {
		text += fmt.Sprintf(" (prefix %s)", key)
	}
	return text
}

func roleView(name string, resp *pb.AuthRoleGetResponse) view {
	perms := resp.Perm
	return view{
		simple: func(t *text) {
			t.line("Role %s", name)
			shown := perms
			if name == "root" && len(perms) == 0 {
				shown = []*authpb.Permission{{PermType: authpb.Permission_READWRITE, RangeEnd: []byte{0}}}
			}
			for _, list := range []struct {
				title string
				not   authpb.Permission_Type
			}{{"KV Read:", authpb.Permission_WRITE}, {"KV Write:", authpb.Permission_READ}} {
				t.line("%s", list.title)
				for _, p := range shown {
					if p.PermType != list.not {
						t.line("\t%s", rangeText(p.Key, p.RangeEnd))
					}
				}
			}
		},
		fields: func(t *text) {
			t.header(resp.Header)
			for _, p := range perms {
				t.line(`"PermType" :  %s`, p.PermType)
				t.quoted("Key", string(p.Key))
				t.quoted("RangeEnd", string(p.RangeEnd))
			}
		},
		json:  resp,
		proto: resp,
	}
}
