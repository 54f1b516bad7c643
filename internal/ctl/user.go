package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func (a *app) userCommand() *cobra.Command {
	return group("user", "User related commands",
		a.userAdd(),
		a.change("delete <user name>", "Deletes a user", "user delete command requires user name as its argument", 1,
			func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.UserDelete(ctx, args[0])
				return (*pb.AuthUserDeleteResponse)(resp), fmt.Sprintf("User %s deleted", args[0]), err
			}),
		a.userGet(),
		a.userList(),
		a.userPasswd(),
		a.change("grant-role <user name> <role name>", "Grants a role to a user", "user grant command requires user name and role name as its argument", 2,
			func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.UserGrantRole(ctx, args[0], args[1])
				return (*pb.AuthUserGrantRoleResponse)(resp), fmt.Sprintf("Role %s is granted to user %s", args[1], args[0]), err
			}),
		a.change("revoke-role <user name> <role name>", "Revokes a role from a user", "user revoke-role requires user name and role name as its argument", 2,
			func(ctx context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				resp, err := c.UserRevokeRole(ctx, args[0], args[1])
				return (*pb.AuthUserRevokeRoleResponse)(resp), fmt.Sprintf("Role %s is revoked from user %s", args[1], args[0]), err
			}))
}

// changeResponse is a response that says nothing but its header.
type changeResponse interface {
	proto.Message
	GetHeader() *pb.ResponseHeader
}

// change is a command with a fixed number of arguments whose answer is a
// sentence, or the header in the other formats.
func (a *app) change(use, short, argsError string, n int, call func(context.Context, *client.Client, []string) (changeResponse, string, error)) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != n {
				return badArgs("%s", argsError)
			}
			return a.runChange(cmd, args, call)
		},
	}
}

func (a *app) runChange(cmd *cobra.Command, args []string, call func(context.Context, *client.Client, []string) (changeResponse, string, error)) error {
	out, c, err := a.session(cmd, kvFormats)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := a.timed(cmd)
	defer cancel()
	resp, sentence, err := call(ctx, c, args)
	if err != nil {
		return err
	}
	return out.print(view{
		simple: func(t *text) { t.line("%s", sentence) },
		fields: func(t *text) { t.header(resp.GetHeader()) },
		json:   resp,
		proto:  resp,
	})
}

func (a *app) userAdd() *cobra.Command {
	var interactive, noPassword bool
	var newPassword string
	cmd := &cobra.Command{
		Use:   "add <user name or user:password> [options]",
		Short: "Adds a new user",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("user add command requires user name as its argument")
			}
			name, password, known := args[0], newPassword, true
			switch before, after, split := strings.Cut(args[0], ":"); {
			case noPassword, newPassword != "":
			case split:
				if before == "" {
					return badArgs("empty user name is not allowed")
				}
				name, password = before, after
			default:
				known = false
			}
			return a.runChange(cmd, args, func(ctx context.Context, c *client.Client, _ []string) (changeResponse, string, error) {
				if !known {
					var err error
					if password, err = a.newPassword(name, interactive); err != nil {
						return nil, "", err
					}
					// Typing took its time: the deadline is for the call.
					var cancel context.CancelFunc
					ctx, cancel = a.timed(cmd)
					defer cancel()
				}
				resp, err := c.UserAddWithOptions(ctx, name, password, &client.UserAddOptions{NoPassword: noPassword})
				return (*pb.AuthUserAddResponse)(resp), fmt.Sprintf("User %s created", name), err
			})
		},
	}
	cmd.Flags().BoolVar(&interactive, "interactive", true, "Read password from stdin instead of interactive terminal")
	cmd.Flags().StringVar(&newPassword, "new-user-password", "", "Supply password from the command line flag")
	cmd.Flags().BoolVar(&noPassword, "no-password", false, "Create a user without password (CN based auth only)")
	return cmd
}

// newPassword reads one word of stdin, or asks twice.
func (a *app) newPassword(user string, interactive bool) (string, error) {
	if !interactive {
		word, err := readWord(a.Stdin)
		if err != nil {
			return "", badArgs("failed to read password: %w", err)
		}
		return word, nil
	}
	first, err := a.askPassword(fmt.Sprintf("Password of %s: ", user))
	if err != nil {
		return "", badArgs("failed to ask password: %w", err)
	}
	if first == "" {
		return "", badArgs("empty password")
	}
	second, err := a.askPassword(fmt.Sprintf("Type password of %s again for confirmation: ", user))
	if err != nil {
		return "", badArgs("failed to ask password: %w", err)
	}
	if first != second {
		return "", badArgs("given passwords are different")
	}
	return first, nil
}

func (a *app) userPasswd() *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "passwd <user name> [options]",
		Short: "Changes password of user",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("user passwd command requires user name as its argument")
			}
			return a.runChange(cmd, args, func(_ context.Context, c *client.Client, args []string) (changeResponse, string, error) {
				password, err := a.newPassword(args[0], interactive)
				if err != nil {
					return nil, "", err
				}
				ctx, cancel := a.timed(cmd)
				defer cancel()
				resp, err := c.UserChangePassword(ctx, args[0], password)
				return (*pb.AuthUserChangePasswordResponse)(resp), "Password updated", err
			})
		},
	}
	cmd.Flags().BoolVar(&interactive, "interactive", true, "If true, read password from interactive terminal, otherwise a word of stdin")
	return cmd
}

func (a *app) userGet() *cobra.Command {
	var detail bool
	cmd := &cobra.Command{
		Use:   "get <user name> [options]",
		Short: "Gets detailed information of a user",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return badArgs("user get command requires user name as its argument")
			}
			formats := format(simple | asJSON | protobuf)
			if detail {
				formats |= fields
			}
			out, c, err := a.session(cmd, formats)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			r, err := c.UserGet(ctx, args[0])
			if err != nil {
				return err
			}
			resp := (*pb.AuthUserGetResponse)(r)
			if !detail {
				return out.print(userView(args[0], resp))
			}
			fmt.Fprintf(a.Stdout, "User: %s\n", args[0])
			for _, name := range resp.Roles {
				fmt.Fprintln(a.Stdout)
				role, err := c.RoleGet(ctx, name)
				if err != nil {
					return err
				}
				if err := out.print(roleView(name, (*pb.AuthRoleGetResponse)(role))); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&detail, "detail", false, "Show permissions of roles granted to the user")
	return cmd
}

func userView(name string, resp *pb.AuthUserGetResponse) view {
	return view{
		simple: func(t *text) {
			t.line("User: %s", name)
			t.line("%s", strings.Join(append([]string{"Roles:"}, resp.Roles...), " "))
		},
		json:  resp,
		proto: resp,
	}
}

func (a *app) userList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists all users",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 0 {
				return badArgs("user list command requires no arguments")
			}
			out, c, err := a.session(cmd, simple|asJSON|protobuf)
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := a.timed(cmd)
			defer cancel()
			r, err := c.UserList(ctx)
			if err != nil {
				return err
			}
			resp := (*pb.AuthUserListResponse)(r)
			return out.print(view{
				simple: func(t *text) {
					for _, u := range resp.Users {
						t.line("%s", u)
					}
				},
				json:  resp,
				proto: resp,
			})
		},
	}
}
