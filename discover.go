package cairn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/discovery"
	"github.com/cairn-kv/cairn/internal/tlsfiles"
)

// discover asks who the first members are, if the options say where. The answer takes the place of --initial-cluster.
func (s *Server) discover(ctx context.Context) error {
	c := &s.cfg
	d := &c.Discovery
	switch {
	case d.SRV != "":
		srv := discovery.SRV{Domain: d.SRV, Suffix: d.SRVName, Resolver: net.DefaultResolver}
		members, err := srv.Members(ctx, c.Name, c.InitialAdvertisePeerURLs)
		if err != nil {
			return fmt.Errorf("--discovery-srv: %w", err)
		}
		s.log.Info("found the first members in the DNS", "domain", d.SRV, "initial-cluster", members)
		c.InitialCluster = members
	case d.URL != "":
		if c.InitialClusterState == clusterExisting {
			return errors.New("discovery URL should not be set when joining existing initial cluster: with --initial-cluster-state=existing, give --initial-cluster")
		}
		c.InitialClusterToken = d.URL
		own := urlStrings(c.InitialAdvertisePeerURLs)
		t := discovery.Token{URL: d.URL, Proxy: d.Proxy, Logger: s.log}
		members, err := t.Join(ctx, cluster.MemberID(own, d.URL, 0), named(c.Name, own))
		switch {
		case errors.Is(err, discovery.ErrFull) && d.Fallback != fallbackExit:
			return ErrProxyInstead
		case err != nil:
			return failedDiscovery(err)
		}
		s.log.Info("found the first members at the discovery URL", "url", d.URL, "initial-cluster", members)
		c.InitialCluster = members
	case d.Endpoints != "":
		if c.InitialClusterState == clusterExisting {
			return errors.New("discovery URL should not be set when joining existing initial cluster: with --initial-cluster-state=existing, give --initial-cluster")
		}
		cfg, err := d.clientConfig()
		if err != nil {
			return err
		}
		c.InitialClusterToken = d.Token
		own := urlStrings(c.InitialAdvertisePeerURLs)
		r := discovery.Registry{Token: d.Token, Client: cfg, RequestTimeout: d.RequestTimeout, Logger: s.log}
		members, err := r.Join(ctx, cluster.MemberID(own, d.Token, 0), named(c.Name, own))
		if err != nil {
			return failedDiscovery(err)
		}
		s.log.Info("found the first members in the registry", "initial-cluster", members)
		c.InitialCluster = members
	}
	return nil
}

func failedDiscovery(err error) error {
	if errors.Is(err, discovery.ErrFull) || errors.Is(err, discovery.ErrDuplicate) {
		return fmt.Errorf("failed to bootstrap; discovery token was already used: %w: do not reuse discovery token; generate a new one to bootstrap a cluster", err)
	}
	return fmt.Errorf("failed to bootstrap with the discovery token: %w", err)
}

func (d *DiscoveryConfig) clientConfig() (client.Config, error) {
	cfg := client.Config{Endpoints: strings.Split(strings.ReplaceAll(d.Endpoints, " ", ""), ","), DialTimeout: d.DialTimeout,
		DialKeepAliveTime: d.KeepaliveTime, DialKeepAliveTimeout: d.KeepaliveWait, Username: d.User, Password: d.Password}
	if name, password, ok := strings.Cut(d.User, ":"); ok && d.Password == "" {
		cfg.Username, cfg.Password = name, password
	}
	if d.Insecure && d.Cert == "" && d.CACert == "" {
		return cfg, nil
	}
	files, err := tlsfiles.Files{Cert: d.Cert, Key: d.Key, CA: d.CACert}.Config()
	if err != nil {
		return cfg, fmt.Errorf("--discovery-cert, --discovery-key, --discovery-cacert: %w", err)
	}
	files.InsecureSkipVerify = d.SkipVerify
	cfg.TLS = files
	return cfg, nil
}
