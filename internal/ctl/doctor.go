package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/doctor"
)

// mostReport bounds what a member may say, in bytes.
const mostReport = 4 << 20

// doctorCommand asks members how they are and says what is wrong. From one endpoint it finds the others.
func (a *app) doctorCommand() *cobra.Command {
	alone := false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Says what is wrong with the members and between them",
		Long: "Asks the members how they are, and says what is wrong: clocks, slow disks, networks that work one way only, no leader, quotas,\n" +
			"different versions, alarms, certificates that end soon. Exit code 1 says that something severe was found.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, cfg, err := a.setup(cmd, simple|asJSON)
			if err != nil {
				return err
			}
			visits := a.visitAll(cmd.Context(), cfg, cfg.Endpoints)
			if !alone {
				visits = append(visits, a.visitAll(cmd.Context(), cfg, unvisited(visits))...)
			}
			found := doctor.Judge(visits, time.Now())
			if err := out.print(doctorView(visits, found)); err != nil {
				return err
			}
			for _, f := range found {
				if f.Severe {
					return errors.New("something severe was found")
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&alone, "only-endpoints", false, "do not look for the other members")
	return cmd
}

func (a *app) visitAll(ctx context.Context, cfg *client.Config, endpoints []string) []doctor.Visit {
	out := make([]doctor.Visit, len(endpoints))
	var wg sync.WaitGroup
	for i, ep := range endpoints {
		wg.Go(func() { out[i] = visit(ctx, cfg, ep, a.flags.commandTimeout) })
	}
	wg.Wait()
	return out
}

// unvisited are endpoints of members that the reports tell of and that have not been asked, one for each.
func unvisited(visits []doctor.Visit) (out []string) {
	seen := map[string]bool{}
	for _, v := range visits {
		if v.Report != nil {
			seen[v.Report.Member] = true
		}
	}
	tried := map[string]bool{}
	for _, v := range visits {
		tried[address(v.Endpoint)] = true
	}
	for _, v := range visits {
		if v.Report == nil {
			continue
		}
		for _, m := range v.Report.Members {
			if seen[m.ID] || len(m.URLs) == 0 {
				continue
			}
			seen[m.ID] = true
			if !tried[address(m.URLs[0])] {
				out = append(out, m.URLs[0])
			}
		}
	}
	return out
}

func address(endpoint string) string {
	_, rest, ok := strings.Cut(endpoint, "://")
	if !ok {
		return endpoint
	}
	return rest
}

func visit(ctx context.Context, cfg *client.Config, endpoint string, limit time.Duration) doctor.Visit {
	v := doctor.Visit{Endpoint: endpoint}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	base := endpoint
	if !strings.Contains(base, "://") {
		base = "http://" + base
		if cfg.TLS != nil {
			base = "https://" + endpoint
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+doctor.Path, nil)
	if err != nil {
		v.Err = err
		return v
	}
	transport := &http.Transport{TLSClientConfig: cfg.TLS}
	defer transport.CloseIdleConnections()
	began := time.Now()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		v.Err = err
		return v
	}
	defer resp.Body.Close()
	v.Took = time.Since(began)
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		v.CertEnds = resp.TLS.PeerCertificates[0].NotAfter
	}
	if resp.StatusCode != http.StatusOK {
		v.Err = fmt.Errorf("it answers %s: is it a cairn server?", resp.Status)
		return v
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostReport))
	if err != nil {
		v.Err = err
		return v
	}
	r := &doctor.Report{}
	if v.Err = json.Unmarshal(b, r); v.Err == nil {
		v.Report = r
		v.ClockLag = began.Add(v.Took / 2).Sub(r.Now)
	}
	return v
}

func doctorView(visits []doctor.Visit, found []doctor.Finding) view {
	return view{
		simple: func(t *text) {
			for _, v := range visits {
				r := v.Report
				if r == nil {
					t.line("%s: no answer", v.Endpoint)
					continue
				}
				role := "follower"
				switch {
				case r.IsLeader:
					role = "leader"
				case r.Learner:
					role = "learner"
				}
				t.line("%s: %s (%s), %s, version %s, term %d, applied %d, sync p99 %.1f ms, %d peers connected of %d", v.Endpoint, r.Name, r.Member, role,
					r.Version, r.Term, r.Applied, r.Sync.P99*1000, peersConnected(r), len(r.Peers))
			}
			t.line("")
			for _, f := range found {
				how := "note  "
				if f.Severe {
					how = "SEVERE"
				}
				t.line("%s  %s: %s", how, f.Where, f.What)
				t.line("        %s", f.Advice)
			}
			if len(found) == 0 {
				t.line("nothing is wrong")
			}
		},
		json: map[string]any{"findings": findingsOf(found), "reports": reportsOf(visits)},
	}
}

func findingsOf(found []doctor.Finding) []doctor.Finding {
	if found == nil {
		return []doctor.Finding{}
	}
	return found
}

func reportsOf(visits []doctor.Visit) map[string]*doctor.Report {
	out := map[string]*doctor.Report{}
	for _, v := range visits {
		out[v.Endpoint] = v.Report
	}
	return out
}

func peersConnected(r *doctor.Report) (n int) {
	for _, p := range r.Peers {
		if p.Active {
			n++
		}
	}
	return n
}
