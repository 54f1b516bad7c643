package ctl2

import (
	"context"
	"time"

	"github.com/cairn-kv/cairn/internal/v2client"
)

const healthPause = 10 * time.Second

func (a *app) healthCommand() *command {
	var forever bool
	return &command{
		name: "cluster-health", short: "check the health of the etcd cluster",
		options: []option{toggle(&forever, "forever check the health every 10 second until CTRL+C", "forever", "f")},
		run: func([]string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			a.showEndpoints(c)
			ctx, done := a.timed()
			members, err := c.Members(ctx)
			done()
			if err != nil {
				a.say("cluster may be unhealthy: failed to list members")
				return failed(exitServer, err)
			}
			if !forever {
				if !a.checkHealth(a.Context, c, members) {
					return silently(exitUnhealthy)
				}
				return nil
			}
			ctx, stop := a.interruptible()
			defer stop()
			for ctx.Err() == nil {
				a.checkHealth(ctx, c, members)
				a.say("\nnext check after 10 second...\n")
				if a.sleep(ctx, healthPause) != nil {
					break
				}
			}
			return nil
		},
	}
}

// checkHealth asks each member and says what it found. One healthy member makes a healthy cluster (C-C03).
func (a *app) checkHealth(ctx context.Context, c *v2client.Client, members []v2client.Member) bool {
	some := false
	for _, m := range members {
		healthy, url := a.memberHealth(ctx, c, m)
		if ctx.Err() != nil {
			return false
		}
		switch {
		case len(m.ClientURLs) == 0:
			a.say("member %s is unreachable: no available published client urls", m.ID)
		case url == "":
			a.say("member %s is unreachable: %v are all unreachable", m.ID, m.ClientURLs)
		case healthy:
			some = true
			a.say("member %s is healthy: got healthy result from %s", m.ID, url)
		default:
			a.say("member %s is unhealthy: got unhealthy result from %s", m.ID, url)
		}
	}
	if some {
		a.say("cluster is healthy")
	} else {
		a.say("cluster is unhealthy")
	}
	return some
}

// memberHealth is what the first of a member's URLs says that says anything. Each has twice the time of a whole command: a
// server waits for some seconds, 7 by default, before it says that it is not healthy.
func (a *app) memberHealth(ctx context.Context, c *v2client.Client, m v2client.Member) (healthy bool, url string) {
	for _, url := range m.ClientURLs {
		timed, cancel := ctx, context.CancelFunc(func() {})
		if a.g.totalTimeout > 0 {
			timed, cancel = context.WithTimeout(ctx, 2*a.g.totalTimeout)
		}
		healthy, err := c.Health(timed, url)
		cancel()
		if err == nil || ctx.Err() != nil {
			return healthy, url
		}
		a.say("failed to check the health of member %s on %s: %v", m.ID, url, err)
	}
	return false, ""
}
