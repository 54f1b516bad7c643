package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

type endpointHealth struct {
	Endpoint string `json:"endpoint"`
	Health   bool   `json:"health"`
	Took     string `json:"took"`
	Error    string `json:"error,omitempty"`
}

func (a *app) endpointHealth(cluster *bool) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Checks the healthiness of endpoints specified in `--endpoints` flag",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, cfg, err := a.setupEndpoints(cmd, endpointFormats, cluster)
			if err != nil {
				return err
			}
			list := make([]endpointHealth, len(cfg.Endpoints))
			var probes sync.WaitGroup
			for i, ep := range cfg.Endpoints {
				probes.Go(func() { list[i] = probe(cmd.Context(), *cfg, ep, a.flags.commandTimeout) })
			}
			probes.Wait()

			failed := false
			for _, h := range list {
				failed = failed || !h.Health
			}
			if out.format == simple {
				for _, h := range list {
					if h.Health {
						fmt.Fprintf(a.Stdout, "%s is healthy: successfully committed proposal: took = %s\n", h.Endpoint, h.Took)
					} else {
						fmt.Fprintf(a.Stderr, "%s is unhealthy: failed to commit proposal: %s\n", h.Endpoint, h.Error)
					}
				}
			} else if err := out.print(healthView(list)); err != nil {
				return err
			}
			if failed {
				return errors.New("unhealthy cluster")
			}
			return nil
		},
	}
}

// probe reads a key through consensus, which takes all that a write would, and
// then asks for alarms. Being denied the key is an answer of the cluster too.
func probe(ctx context.Context, cfg client.Config, ep string, limit time.Duration) endpointHealth {
	h := endpointHealth{Endpoint: ep}
	cfg.Endpoints = []string{ep}
	c, err := client.New(cfg)
	if err != nil {
		h.Error = err.Error()
		return h
	}
	defer c.Close()
	began := time.Now()
	getCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err = c.Get(getCtx, "health")
	h.Took = time.Since(began).String()
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		h.Error = err.Error()
		return h
	}
	alarmCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resp, err := c.AlarmList(alarmCtx)
	switch {
	case err != nil:
		h.Error = "Unable to fetch the alarm list"
		return h
	case len(resp.Alarms) > 0:
		h.Error = "Active Alarm(s): "
		for _, alarm := range resp.Alarms {
			switch alarm.Alarm {
			case pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT:
				h.Error += alarm.Alarm.String() + " "
			default:
				h.Error += "UNKNOWN "
			}
		}
		return h
	}
	h.Health = true
	return h
}

func healthView(list []endpointHealth) view {
	return view{
		json: list,
		fields: func(t *text) {
			for _, h := range list {
				t.quoted("Endpoint", h.Endpoint)
				t.field("Health", h.Health)
				t.field("Took", h.Took)
				t.field("Error", h.Error)
				t.line("")
			}
		},
		table: func() ([]string, [][]string) {
			var rows [][]string
			for _, h := range list {
				rows = append(rows, []string{h.Endpoint, strconv.FormatBool(h.Health), h.Took, h.Error})
			}
			return []string{"endpoint", "health", "took", "error"}, rows
		},
	}
}
