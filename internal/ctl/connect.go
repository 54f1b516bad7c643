package ctl

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-kv/cairn/client"
)

// setup is what every command does before it connects: the environment, the
// configuration with its credentials, and the output format, which must be one
// of those the command has.
func (a *app) setup(cmd *cobra.Command, formats format) (*output, *client.Config, error) {
	if err := a.applyEnv(cmd); err != nil {
		return nil, nil, err
	}
	a.startDebug(cmd)
	cfg, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	out, err := a.newOutput(formats)
	if err != nil {
		return nil, nil, err
	}
	return out, cfg, nil
}

// session is setup and a client for all endpoints. The caller closes it.
func (a *app) session(cmd *cobra.Command, formats format) (*output, *client.Client, error) {
	out, cfg, err := a.setup(cmd, formats)
	if err != nil {
		return nil, nil, err
	}
	c, err := a.connect(*cfg)
	return out, c, err
}

// connect makes a client; failing is exit code 2.
func (a *app) connect(cfg client.Config) (*client.Client, error) {
	c, err := client.New(cfg)
	if err != nil {
		return nil, withCode(exitBadConnection, err)
	}
	a.client = c
	return c, nil
}

// connectTo makes a client for one endpoint of many.
func (a *app) connectTo(cfg *client.Config, endpoint string) (*client.Client, error) {
	one := *cfg
	one.Endpoints = []string{endpoint}
	return a.connect(one)
}

// timed is the deadline of a short command.
func (a *app) timed(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(cmd.Context(), a.flags.commandTimeout)
}

// config builds the client's configuration from the flags.
func (a *app) config() (*client.Config, error) {
	if err := a.checkEmptyFiles(); err != nil {
		return nil, err
	}
	g := &a.flags
	cfg, err := a.baseConfig(tlsFiles{g.cert, g.key, g.caCert}, g.insecureTransport)
	if err != nil {
		return nil, err
	}
	if cfg.Endpoints, err = a.endpoints(); err != nil {
		return nil, err
	}
	if g.discoverySRV != "" && !g.insecureDiscovery && cfg.TLS != nil {
		cfg.TLS.ServerName = g.discoverySRV
	}
	if g.jwtToken != "" {
		cfg.Token = g.jwtToken
		return cfg, nil
	}
	cfg.Username, cfg.Password, err = a.credentials(g.user, g.password, a.changed("password"), "Password: ")
	return cfg, err
}

// baseConfig is the part of a configuration that make-mirror's destination
// shares with the source.
func (a *app) baseConfig(files tlsFiles, insecureTransport bool) (*client.Config, error) {
	g := &a.flags
	tlsConfig, err := files.config(insecureTransport, g.insecureSkipVerify)
	if err != nil {
		return nil, withCode(exitBadArgs, err)
	}
	return &client.Config{
		DialTimeout:          g.dialTimeout,
		DialKeepAliveTime:    g.keepAliveTime,
		DialKeepAliveTimeout: g.keepAliveTimeout,
		MaxCallSendMsgSize:   g.maxRequestBytes,
		MaxCallRecvMsgSize:   g.maxRecvBytes,
		TLS:                  tlsConfig,
		Context:              a.Context,
		BackoffWaitBetween:   25 * time.Millisecond,
	}, nil
}

// changed says whether a global flag was given, by flag or by variable.
func (a *app) changed(name string) bool {
	fl := a.root.PersistentFlags().Lookup(name)
	return fl != nil && fl.Changed
}

// endpoints lists what to connect to: discovered, or as given.
func (a *app) endpoints() ([]string, error) {
	if a.flags.discoverySRV != "" {
		found, err := a.discover()
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	eps := make([]string, 0, len(a.flags.endpoints))
	for _, ep := range a.flags.endpoints {
		eps = append(eps, strings.TrimSpace(ep))
	}
	return eps, nil
}

// credentials splits name[:password], or asks for the password. With a password
// given apart, the whole of user is the name.
func (a *app) credentials(user, password string, apart bool, prompt string) (string, string, error) {
	switch name, pw, ok := strings.Cut(user, ":"); {
	case user == "":
		return "", "", nil
	case apart:
		return user, password, nil
	case ok:
		return name, pw, nil
	}
	pw, err := a.askPassword(prompt)
	return user, pw, err
}
