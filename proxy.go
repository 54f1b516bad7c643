package cairn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cairn-kv/cairn/internal/discovery"
	"github.com/cairn-kv/cairn/internal/peer"
	"github.com/cairn-kv/cairn/internal/proxy"
)

// ProxyConfig says whether to forward the v2 API to members instead of being one, and how.
type ProxyConfig struct {
	Mode                                   string // off, on or readonly
	FailureWait, RefreshInterval           time.Duration
	DialTimeout, WriteTimeout, ReadTimeout time.Duration // 0 for none
}

const (
	proxyOff      = "off"
	proxyOn       = "on"
	proxyReadOnly = "readonly"
)

func checkProxy(s string) error {
	switch s {
	case proxyOff, proxyOn, proxyReadOnly:
		return nil
	}
	return fmt.Errorf("unexpected proxy mode %q: off, on or readonly is expected", s)
}

func (p *ProxyConfig) validate() error {
	switch {
	case p.FailureWait <= 0:
		return fmt.Errorf("--proxy-failure-wait must be >0 (set to %dms)", p.FailureWait.Milliseconds())
	case p.RefreshInterval <= 0:
		return fmt.Errorf("--proxy-refresh-interval must be >0 (set to %dms)", p.RefreshInterval.Milliseconds())
	}
	return nil
}

// ErrProxyInstead says that a cluster has the members that it wants, and that the process is to serve as a proxy to it.
var ErrProxyInstead = errors.New("discovery: cluster is full: the process is to be a proxy")

// RunsProxy reports whether the data directory, or else the options, ask for a proxy (v2-http.md section 16.2): what has
// been a member stays one, and so does a proxy.
func (c *Config) RunsProxy() (bool, error) {
	member, was := isDir(filepath.Join(c.DataDir, "member")), isDir(c.proxyDir())
	switch {
	case member && was:
		return false, fmt.Errorf("cairn: invalid datadir %s: both member and proxy directories exist: a process is one or the other; move one of them away", c.DataDir)
	case member:
		return false, nil
	}
	return was || c.Proxy.Mode == proxyOn || c.Proxy.Mode == proxyReadOnly, nil
}

func isDir(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.IsDir()
}

func (c *Config) proxyDir() string { return filepath.Join(c.DataDir, "proxy") }

// Proxy is a process that forwards the v2 API to the members of a cluster.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	logFiles []io.Closer
	others   *peer.Client
	forward  *proxy.Proxy
	web      *webServer
	secrets  secrets
	ls       []*entrance
	wg       sync.WaitGroup
	once     sync.Once
	done     chan struct{}
	err      error
}

// StartProxy finds the members and begins to forward to them. No member need be up.
func StartProxy(ctx context.Context, cfg Config) (*Proxy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.AuditLog.File != "" {
		return nil, errors.New("--audit-log is for members: a proxy only passes on what they record")
	}
	log, _, files, err := cfg.openLog()
	if err != nil {
		return nil, err
	}
	p := &Proxy{cfg: cfg, log: log, logFiles: files, done: make(chan struct{})}
	if err := p.start(ctx); err != nil {
		if p.others != nil {
			p.others.Close()
		}
		closeAll(p.ls)
		closeAll(files)
		return nil, err
	}
	return p, nil
}

func (p *Proxy) start(ctx context.Context) (err error) {
	if p.secrets, err = p.cfg.openTLS(p.log); err != nil {
		return err
	}
	p.others = peer.NewClient(p.secrets.peers.Client, askWithin)
	if p.ls, err = listen(p.cfg.ListenClientURLs, p.secrets.clients, "http/1.1"); err != nil {
		return err
	}
	budget, err := budgetFiles()
	if err != nil {
		return err
	}
	budget.bound(p.ls...)
	file := filepath.Join(p.cfg.proxyDir(), "cluster")
	peers, err := proxy.Known(file)
	if err != nil {
		return err
	}
	if len(peers) > 0 {
		p.log.Info("the peers are those of the last time; options that say where to find them are passed over", "file", file, "peer-urls", peers)
	} else if peers, err = p.firstPeers(ctx); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o := p.cfg.Proxy
	towards := p.secrets.peers
	if p.cfg.ClientTLS.dials() {
		towards = p.secrets.clients
	}
	p.forward, err = proxy.New(ctx, proxy.Config{
		Peers: peers, File: file, Ask: p.ask, ReadOnly: o.Mode == proxyReadOnly, Own: append(urlStrings(p.cfg.ListenClientURLs), p.listening()...),
		FailureWait: o.FailureWait, RefreshInterval: o.RefreshInterval,
		TLS: towards.Client, DialTimeout: o.DialTimeout, WriteTimeout: o.WriteTimeout, ReadTimeout: o.ReadTimeout, Registry: registry, Logger: p.log,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", p.forward)
	mux.HandleFunc("/v2/config/local/proxy", p.forward.ServeConfig)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	access := p.cfg.access(p.log)
	p.web = newWebServer(access.Guard(mux), p.log)
	for _, l := range p.ls {
		p.log.Info("forwarding client requests", "address", l.Addr().String(), "mode", o.Mode)
		p.wg.Go(func() {
			if err := l.feed(p.web); !errors.Is(err, net.ErrClosed) {
				p.once.Do(func() {
					p.err = err
					close(p.done)
				})
			}
		})
	}
	return nil
}

// listening are the addresses as URLs: an option may have asked for any port.
func (p *Proxy) listening() (out []string) {
	for _, l := range p.ls {
		out = append(out, l.URL())
	}
	return out
}

// firstPeers are the peer URLs that the options lead to.
func (p *Proxy) firstPeers(ctx context.Context) ([]string, error) {
	c := &p.cfg
	members := c.InitialCluster
	switch {
	case c.Discovery.URL != "":
		t := discovery.Token{URL: c.Discovery.URL, Proxy: c.Discovery.Proxy, Logger: p.log}
		var err error
		if members, err = t.Members(ctx); err != nil {
			return nil, failedDiscovery(err)
		}
	case c.Discovery.SRV != "":
		srv := discovery.SRV{Domain: c.Discovery.SRV, Suffix: c.Discovery.SRVName, Resolver: net.DefaultResolver}
		var err error
		if members, err = srv.Members(ctx, "", nil); err != nil {
			return nil, fmt.Errorf("--discovery-srv: %w", err)
		}
	}
	if members == "" {
		return nil, errors.New("a proxy has to know peer URLs: give --initial-cluster, --discovery or --discovery-srv")
	}
	listed, err := parseCluster(members)
	if err != nil {
		return nil, err
	}
	return slices.Concat(slices.Collect(maps.Values(listed))...), nil
}

// ask asks a peer who the members are.
func (p *Proxy) ask(ctx context.Context, url string) (clients, peers []string, err error) {
	_, members, err := p.others.Members(ctx, url)
	for _, m := range members {
		clients, peers = append(clients, m.ClientURLs...), append(peers, m.PeerURLs...)
	}
	return clients, peers, err
}

// Addrs are the addresses that clients are served on.
func (p *Proxy) Addrs() (out []net.Addr) {
	for _, l := range p.ls {
		out = append(out, l.Addr())
	}
	return out
}

// URL is the first of the addresses that clients are served on.
func (p *Proxy) URL() string { return p.ls[0].URL() }

// DataDir is where the proxy keeps the peers that it knows.
func (p *Proxy) DataDir() string { return p.cfg.DataDir }

// Done is closed when serving has ended by itself; Err tells why.
func (p *Proxy) Done() <-chan struct{} { return p.done }

// Err is why serving ended.
func (p *Proxy) Err() error { return p.err }

// proxyStopWithin is how long requests under way may take when the proxy stops. Those that wait for changes end with it.
const proxyStopWithin = time.Second

// Stop ends the proxy.
func (p *Proxy) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), proxyStopWithin)
	defer cancel()
	closeAll(p.ls)
	p.web.shutdown(ctx)
	p.wg.Wait()
	p.forward.Close()
	p.others.Close()
	closeAll(p.logFiles)
	return nil
}
