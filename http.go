package cairn

import (
	"log/slog"
	"net/http"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/cairn-kv/cairn/internal/doctor"
	"github.com/cairn-kv/cairn/internal/gateway"
	"github.com/cairn-kv/cairn/internal/v2http"
	"github.com/cairn-kv/cairn/internal/v3rpc"
)

// web is everything that is served over HTTP/1.
type web struct {
	clients, metrics http.Handler
	keys             http.Handler     // of /v2/keys, nil if it is off
	gateway          *gateway.Gateway // nil if it is off
}

func (s *Server) web() (*web, error) {
	debug := s.cfg.Debug()
	api := v2http.New(s.host, v2http.Config{
		Version: Version, Access: s.cfg.access(s.log), Registry: s.registry, Pprof: s.cfg.EnablePprof || debug, Traces: debug,
	})
	w := &web{}
	clients, metrics := http.NewServeMux(), http.NewServeMux()
	all := http.Handler(clients)
	api.Routes(clients)
	api.MetricsRoutes(metrics)
	for _, mux := range []*http.ServeMux{clients, metrics} {
		mux.HandleFunc(doctor.Path, s.serveDiagnosis)
	}
	var keys http.Handler // of /v2/keys
	if s.cfg.EnableV2 {
		all, keys = s.v2(clients)
		if s.logLevel != nil {
			clients.Handle("/config/local/log", v2http.Recorded(s.audit, &v2http.LogLevel{Level: s.logLevel, Logger: s.log}))
		}
	}
	if s.cfg.EnableGateway {
		var err error
		// A request's bytes take a third more in base64, and names and spaces their part.
		w.gateway, err = gateway.New(gateway.Config{MaxMessageBytes: 2 * (s.cfg.MaxRequestBytes + v3rpc.OverheadBytes), Trusted: api.Trusted,
			AddressKey: v3rpc.AddressKey, CallKey: v3rpc.CallKey, Began: s.rpc.CallBegan, Ended: s.rpc.CallEnded})
		if err != nil {
			return nil, err
		}
		clients.Handle("/v3/", w.gateway)
	}
	w.clients, w.metrics = api.Guard(all), metrics
	if keys != nil {
		w.keys = api.Guard(keys)
	}
	return w, nil
}

// v2 is the v2 API, before what else there is.
func (s *Server) v2(next http.Handler) (all, ofKeys http.Handler) {
	id := s.host.ClusterID().String()
	router := v2http.NewRouter(next)
	auth := v2http.NewAuth(s.host, s.host, s.passwords, s.cfg.ClientTLS.ClientCertAuth, id, s.log)
	keys := v2http.NewKeys(s.host, s.host, auth, id)
	keys.Register(s.registry)
	ofKeys = v2http.Recorded(s.audit, keys)
	members := v2http.Recorded(s.audit, v2http.NewMembers(s.host, s.host, auth, id))
	stats := v2http.NewStats(s.host, s.host, s.appends, keys, s.cfg.Name, s.started)
	for path, page := range map[string]http.Handler{
		"/v2/auth/":           v2http.Recorded(s.audit, auth),
		v2http.KeysPath:       ofKeys,
		v2http.KeysPath + "/": ofKeys,
		"/v2/members":         members,
		"/v2/members/":        members,
		"/v2/machines":        v2http.Machines{Backend: s.host},
		"/v2/stats/self":      stats,
		"/v2/stats/leader":    stats,
		"/v2/stats/store":     stats,
	} {
		router.Handle(path, page)
	}
	return router, ofKeys
}

func (c *Config) access(log *slog.Logger) v2http.Access {
	return v2http.Access{CORS: splitList(c.CORS), HostWhitelist: splitList(c.HostWhitelist), Logger: log}
}

// bcryptCost is the cost that is asked for, or the usual one in the place of one that bcrypt does not have.
func (s *Server) bcryptCost() int {
	c := s.cfg.BcryptCost
	if c < bcrypt.MinCost || c > bcrypt.MaxCost {
		s.log.Warn("use default bcrypt cost instead of the invalid given cost", "min-cost", bcrypt.MinCost, "max-cost", bcrypt.MaxCost,
			"default-cost", bcrypt.DefaultCost, "given-cost", c)
		return bcrypt.DefaultCost
	}
	return c
}

func splitList(s string) (out []string) {
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
