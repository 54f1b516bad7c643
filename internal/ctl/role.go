package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (a *app) roleCommand() *cobra.Command {
	return group("role", "Role related commands",
		a.change("add <role name>", "Adds a new role", "role add command requires role name as its argument", 1,
			func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.RoleAdd(ctx, args[0])
				return (*pb.AuthRoleAddResponse)(resp), fmt.Sprintf("Role %s created", args[0]), err
			}),
		a.change("delete <role name>", "Deletes a role", "role delete command requires role name as its argument", 1,
			func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.RoleDelete(ctx, args[0])
				return (*pb.AuthRoleDeleteResponse)(resp), fmt.Sprintf("Role %s deleted", args[0]), err
			}),
		a.roleGet(),
		a.roleList(),
		a.roleGrant(),
		a.roleRevoke())
}

func (a *app) roleGet() *cobra.Command {
	return &cobra.Command{
		Use:   "get <role name>",
		Short: "Gets detailed information of a role",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("role get command requires role name as its argument")
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			resp, err := c.RoleGet(ctx, args[0])
			if err != nil {
				return err
			}
			return out.print(roleView(args[0], (*pb.AuthRoleGetResponse)(resp)))
		},
	}
}

func (a *app) roleList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists all roles",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 0 {
				return badArgs("role list command requires no arguments")
			}
			out, c, err := a.session(cmd, kvFormats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			r, err := c.RoleList(ctx)
			if err != nil {
				return err
			}
			resp := (*pb.AuthRoleListResponse)(r)
			return out.print(view{
				simple: func(t *text) {
					for _, name := range resp.Roles {
						t.line("%s", name)
					}
				},
				fields: func(t *text) {
					t.header(resp.Header)
					t.WriteString(`"Roles" :`)
					for _, name := range resp.Roles {
						fmt.Fprintf(t, " %q", name)
					}
					t.line("")
				},
				json:  resp,
				proto: resp,
			})
		},
	}
}

// keyRange is how grant-permission and revoke-permission name keys.
type keyRange struct{ prefix, fromKey bool }

func (r *keyRange) addTo(f *pflag.FlagSet, verb string) {
	f.BoolVar(&r.prefix, "prefix", false, verb+" a prefix permission")
	f.BoolVar(&r.fromKey, "from-key", false, verb+" a permission of keys that are greater than or equal to the given key using byte compare")
}

// parse turns key and optional end into the stored range.
func (r *keyRange) parse(args []string) (key, end string, err error) {
	key = args[0]
	switch {
	case r.prefix && r.fromKey:
		return "", "", badArgs("--from-key and --prefix flags are mutually exclusive")
	case key == "" && (r.prefix || r.fromKey):
		return "\x00", "\x00", nil
	case key == "":
		return "\x00", "", nil
	case len(args) > 1 && r.prefix:
		return "", "", badArgs("unexpected endkey argument with --prefix flag")
	case len(args) > 1 && r.fromKey:
		return "", "", badArgs("unexpected endkey argument with --from-key flag")
	case len(args) > 1:
		return key, args[1], nil
	case r.prefix:
		return key, client.GetPrefixRangeEnd(key), nil
	case r.fromKey:
		return key, "\x00", nil
	}
	return key, "", nil
}

func (a *app) roleGrant() *cobra.Command {
	var r keyRange
	cmd := &cobra.Command{
		Use:   "grant-permission [options] <role name> <permission type> <key> [endkey]",
		Short: "Grants a key to a role",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 || len(args) > 4 {
				return badArgs("role grant command requires role name, permission type, and key [endkey] as its argument")
			}
			perm, err := client.StrToPermissionType(args[1])
			if err != nil {
				return withCode(exitBadArgs, err)
			}
			key, end, err := r.parse(args[2:])
			if err != nil {
				return err
			}
			return a.runChange(cmd, args, func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.RoleGrantPermission(ctx, args[0], key, end, perm)
				return (*pb.AuthRoleGrantPermissionResponse)(resp), fmt.Sprintf("Role %s updated", args[0]), err
			})
		},
	}
	r.addTo(cmd.Flags(), "grant")
	return cmd
}

func (a *app) roleRevoke() *cobra.Command {
	var r keyRange
	cmd := &cobra.Command{
		Use:   "revoke-permission [options] <role name> <key> [endkey]",
		Short: "Revokes a key from a role",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 {
				return badArgs("role revoke-permission command requires role name and key [endkey] as its argument")
			}
			key, end, err := r.parse(args[1:])
			if err != nil {
				return err
			}
			return a.runChange(cmd, args, func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.RoleRevokePermission(ctx, args[0], key, end)
				what := "key " + args[1] // as it was typed
				switch end {
				case "":
				case "\x00":
					what = fmt.Sprintf("range [%s, <open ended>", args[1])
				default:
					what = fmt.Sprintf("range [%s, %s)", args[1], end)
				}
				sentence := fmt.Sprintf("Permission of %s is revoked from role %s", what, args[0])
				return (*pb.AuthRoleRevokePermissionResponse)(resp), sentence, err
			})
		},
	}
	r.addTo(cmd.Flags(), "revoke")
	return cmd
}
