package ctl2

import (
	"context"

	"github.com/cairn-kv/cairn/internal/v2client"
)

// authCommand is auth enable or auth disable.
func (a *app) authCommand(verb string) *command {
	change, done := (*v2client.Client).EnableAuth, "Authentication Enabled"
	if verb == "disable" {
		change, done = (*v2client.Client).DisableAuth, "Authentication Disabled"
	}
	return &command{
		name: verb, short: verb + " auth access controls",
		run: func(args []string) error {
			if len(args) != 0 {
				return refuse("No arguments accepted")
			}
			return a.callAuth(func(ctx context.Context, c *v2client.Client) error {
				if err := change(c, ctx); err != nil {
					return err
				}
				a.say("%s", done)
				return nil
			})
		},
	}
}
