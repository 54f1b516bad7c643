package ctl2

import (
	"context"
	"fmt"
	"strings"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// callAuth is call for the commands on users, roles and their use: they tell errors by their words alone, and name the
// endpoints twice when debugging (G-81).
func (a *app) callAuth(f func(context.Context, *v2client.Client) error) error {
	return refused(a.call(func(ctx context.Context, c *v2client.Client) error {
		a.showEndpoints(c)
		return f(ctx, c)
	}))
}

// named is a command on one thing that has a name.
func (a *app) named(name, short, what, missing string, run func(name string) error) *command {
	return &command{
		name: name, short: short, args: "<" + what + ">",
		run: func(args []string) error {
			if len(args) != 1 || args[0] == "" {
				return refuse("%s", missing)
			}
			return run(args[0])
		},
	}
}

func (a *app) onUser(name, short string, run func(user string) error) *command {
	return a.named(name, short, "user", "Please provide a username", run)
}

func (a *app) userAddCommand() *command {
	return a.onUser("add", "add a new user for the etcd cluster", func(arg string) error {
		if strings.HasPrefix(arg, ":") {
			return refuse("Please provide a username")
		}
		return a.withPassword(arg, func(ctx context.Context, c *v2client.Client, user, password string) error {
			if err := c.PutUser(ctx, user, password); err != nil {
				return err
			}
			a.say("User %s created", user)
			return nil
		})
	})
}

// withPassword connects before it asks for a password, so that nobody types one in vain.
func (a *app) withPassword(arg string, f func(ctx context.Context, c *v2client.Client, user, password string) error) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	a.showEndpoints(c)
	user, password, err := a.credentials(arg, "New password: ")
	if err != nil {
		return refuse("Error reading password: %v", err)
	}
	ctx, done := a.timed()
	defer done()
	return refused(f(ctx, c, user, password))
}

func (a *app) userGetCommand() *command {
	return a.onUser("get", "get details for a user", func(name string) error {
		return a.callAuth(func(ctx context.Context, c *v2client.Client) error {
			u, err := c.User(ctx, name)
			if err != nil {
				return err
			}
			a.say("User: %s\nRoles: %s", u.Name, strings.Join(u.Roles, " "))
			return nil
		})
	})
}

func (a *app) userListCommand() *command {
	return a.listCommand("list all current users", func(ctx context.Context, c *v2client.Client) (names []string, err error) {
		users, err := c.Users(ctx)
		for _, u := range users {
			names = append(names, u.Name)
		}
		return names, err
	})
}

// listCommand shows names, one a line.
func (a *app) listCommand(short string, names func(context.Context, *v2client.Client) ([]string, error)) *command {
	return &command{
		name: "list", short: short,
		run: func(args []string) error {
			if len(args) != 0 {
				return refuse("No arguments accepted")
			}
			return a.callAuth(func(ctx context.Context, c *v2client.Client) error {
				all, err := names(ctx, c)
				if err != nil {
					return err
				}
				for _, n := range all {
					a.say("%s", n)
				}
				return nil
			})
		},
	}
}

func (a *app) userRemoveCommand() *command {
	return a.onUser("remove", "remove a user for the etcd cluster", func(name string) error {
		return a.callAuth(func(ctx context.Context, c *v2client.Client) error {
			if err := c.RemoveUser(ctx, name); err != nil {
				return err
			}
			a.say("User %s removed", name)
			return nil
		})
	})
}

func (a *app) userGrantCommand() *command {
	return a.userRolesCommand("grant", "grant roles to an etcd user", (*v2client.Client).GrantUser)
}

func (a *app) userRevokeCommand() *command {
	return a.userRolesCommand("revoke", "revoke roles for an etcd user", (*v2client.Client).RevokeUser)
}

func (a *app) userRolesCommand(name, short string, change func(*v2client.Client, context.Context, string, []string) error) *command {
	var roles []string
	c := a.onUser(name, short, func(user string) error {
		return a.callAuth(func(ctx context.Context, c *v2client.Client) error {
			if err := change(c, ctx, user, roles); err != nil {
				return err
			}
			a.say("User %s updated", user)
			return nil
		})
	})
	c.options = []option{list(&roles, "List of roles to grant or revoke", "roles")}
	run := c.run
	c.run = func(args []string) error {
		if len(roles) == 0 {
			return refuse("No roles specified; please use `--roles`")
		}
		return run(args)
	}
	return c
}

func (a *app) userPasswdCommand() *command {
	return a.onUser("passwd", "change password for a user", func(name string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		defer c.Close()
		a.showEndpoints(c)
		// A user who is not there would be made.
		ctx, done := a.timed()
		_, err = c.User(ctx, name)
		done()
		if err != nil {
			return refused(err)
		}
		password, err := a.askPassword("New password: ")
		if err != nil {
			return refused(fmt.Errorf("Error reading password: %w", err))
		}
		ctx, done = a.timed()
		defer done()
		if err := c.PutUser(ctx, name, password); err != nil {
			return refused(err)
		}
		a.say("Password updated")
		return nil
	})
}
