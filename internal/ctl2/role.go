package ctl2

import (
	"context"
	"path"
	"strings"

	"github.com/cairn-kv/cairn/internal/v2client"
)

func (a *app) onRole(name, short string, run func(ctx context.Context, c *v2client.Client, role string) error) *command {
	return a.named(name, short, "role", "Please provide a role name", func(role string) error {
		return a.callAuth(func(ctx context.Context, c *v2client.Client) error { return run(ctx, c, role) })
	})
}

func (a *app) roleAddCommand() *command {
	return a.onRole("add", "add a new role for the etcd cluster", func(ctx context.Context, c *v2client.Client, role string) error {
		if _, err := c.Role(ctx, role); err == nil {
			return refuse("Role %s already exists", role)
		}
		if err := c.AddRole(ctx, role); err != nil {
			return err
		}
		a.say("Role %s created", role)
		return nil
	})
}

func (a *app) roleGetCommand() *command {
	return a.onRole("get", "get details for a role", func(ctx context.Context, c *v2client.Client, role string) error {
		r, err := c.Role(ctx, role)
		if err != nil {
			return err
		}
		a.say("Role: %s", r.Name)
		for _, part := range []struct {
			title    string
			patterns []string
		}{{"KV Read:", r.Permissions.KV.Read}, {"KV Write:", r.Permissions.KV.Write}} {
			a.say("%s", part.title)
			for _, p := range part.patterns {
				a.say("\t%s", p)
			}
		}
		return nil
	})
}

func (a *app) roleListCommand() *command {
	return a.listCommand("list all roles", func(ctx context.Context, c *v2client.Client) (names []string, err error) {
		roles, err := c.Roles(ctx)
		for _, r := range roles {
			names = append(names, r.Name)
		}
		return names, err
	})
}

func (a *app) roleRemoveCommand() *command {
	return a.onRole("remove", "remove a role from the etcd cluster", func(ctx context.Context, c *v2client.Client, role string) error {
		if err := c.RemoveRole(ctx, role); err != nil {
			return err
		}
		a.say("Role %s removed", role)
		return nil
	})
}

// roleChangeCommand is role grant or role revoke.
func (a *app) roleChangeCommand(verb string) *command {
	var pattern string
	var read, write, both bool
	change, title, short, done := (*v2client.Client).GrantRole, "Grant", "grant path matches to an etcd role", "Path granted for the role to access"
	kinds := [3]string{"read-only", "write-only", "read-write"}
	if verb == "revoke" {
		change, title, short, done = (*v2client.Client).RevokeRole, "Revoke", "revoke path matches for an etcd role", "Path revoked for the role to access"
		kinds = [3]string{"read", "write", "read-write"}
	}
	c := a.onRole(verb, short, func(ctx context.Context, c *v2client.Client, role string) error {
		if _, err := c.Role(ctx, role); err != nil {
			return err
		}
		var access v2client.Access
		if read || both {
			access.Read = []string{pattern}
		}
		if write || both {
			access.Write = []string{pattern}
		}
		if err := change(c, ctx, role, access); err != nil {
			return err
		}
		a.say("Role %s updated", role)
		return nil
	})
	c.options = []option{
		text(&pattern, done, "path"),
		toggle(&read, title+" "+kinds[0]+" access", "read"),
		toggle(&write, title+" "+kinds[1]+" access", "write"),
		toggle(&both, title+" "+kinds[2]+" access", "readwrite", "rw"),
	}
	run := c.run
	c.run = func(args []string) error {
		given := 0
		for _, g := range []bool{read, write, both} {
			if g {
				given++
			}
		}
		switch {
		case pattern == "":
			return refuse("No path specified; please use `--path`")
		case canonical(pattern) != pattern:
			return refuse("Not canonical path; please use `--path=%s`", canonical(pattern))
		case given != 1:
			return refuse("Please specify exactly one of --read, --write or --readwrite")
		}
		return run(args)
	}
	return c
}

// canonical is a path as servers compare it. A slash at its end counts.
func canonical(p string) string {
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
