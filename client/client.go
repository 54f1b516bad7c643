package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// Client is one logical connection to a cluster. It owns its gRPC channel, its
// watch streams and its keep-alive loop; Close ends them all. The embedded
// interfaces may be replaced by wrappers before use.
type Client struct {
	Cluster
	KV
	Lease
	Watcher
	Auth
	Maintenance
	Limits

	// Username and Password are the credentials New was given, Token a ready
	// token. They are for reading.
	Username string
	Password string
	Token    string

	cfg    Config
	log    *slog.Logger
	tokens *tokenSource
	ctx    context.Context
	cancel context.CancelFunc
	conn   *grpc.ClientConn
	owned  sync.WaitGroup // autoSync

	transportErr atomic.Pointer[string]

	mu        sync.RWMutex
	endpoints []string
	secure    bool // decided once: an endpoint list never changes it
	resolver  *manual.Resolver
}

// Option adjusts a client made by NewCtxClient.
type Option func(*Client)

// WithLogger gives a client made by NewCtxClient a logger.
func WithLogger(lg *slog.Logger) Option { return func(c *Client) { c.log = lg } }

// New makes a client. It does not wait for a connection, unless user and
// password are configured (their token is fetched, within DialTimeout) or
// RejectOldCluster is set. Errors: ErrNoAvailableEndpoints, ErrMixedEndpoints,
// ErrMutuallyExclusiveCfg, ErrOldCluster, or that of authentication.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	eps, security, err := parseEndpoints(cfg.Endpoints)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(cfg.Context)
	c := &Client{
		Username: cfg.Username, Password: cfg.Password, Token: cfg.Token,
		cfg: cfg, log: cfg.Logger, ctx: ctx, cancel: cancel,
		tokens:    newTokenSource(cfg.Username, cfg.Password, cfg.Token),
		endpoints: slices.Clone(cfg.Endpoints),
		secure:    security == securitySecure || (security == securityAny && cfg.TLS != nil),
		resolver:  manual.NewBuilderWithScheme("etcd-endpoints"),
	}
	c.tokens.fetch = c.authenticate
	c.resolver.InitialState(addresses(eps))
	c.conn, err = c.newConn("etcd-endpoints:///"+eps[0].serverName, c.resolver)
	if err != nil {
		cancel()
		return nil, err
	}
	c.Cluster = NewCluster(c)
	c.KV = NewKV(c)
	c.Lease = NewLease(c)
	c.Watcher = NewWatcher(c)
	c.Auth = NewAuth(c)
	c.Maintenance = NewMaintenance(c)
	c.Limits = NewLimits(c)

	if err := c.connectTimeWork(); err != nil {
		c.Close()
		return nil, err
	}
	if cfg.AutoSyncInterval > 0 {
		c.owned.Go(c.autoSync)
	}
	return c, nil
}

// NewFromURL is New with one endpoint, NewFromURLs with several.
func NewFromURL(url string) (*Client, error)     { return New(Config{Endpoints: []string{url}}) }
func NewFromURLs(urls []string) (*Client, error) { return New(Config{Endpoints: urls}) }

// NewCtxClient makes a client without a connection, for callers who fill in the
// interfaces themselves.
func NewCtxClient(ctx context.Context, opts ...Option) *Client {
	cctx, cancel := context.WithCancel(ctx)
	c := &Client{ctx: cctx, cancel: cancel, log: slog.New(slog.DiscardHandler), tokens: newTokenSource("", "", "")}
	c.cfg.WatchBufferBytes = defaultWatchBufferBytes
	for _, o := range opts {
		o(c)
	}
	return c
}

// connectTimeWork is what New does over the network, within DialTimeout.
func (c *Client) connectTimeWork() error {
	ctx, cancel := bounded(c.ctx, c.cfg.DialTimeout)
	defer cancel()
	if c.tokens.refreshable() {
		if err := c.tokens.refresh(ctx, 0); err != nil {
			return err
		}
	}
	if c.cfg.RejectOldCluster {
		return c.checkVersions(ctx)
	}
	return nil
}

// newConn makes a channel that balances over what r resolves.
func (c *Client) newConn(target string, r resolver.Builder) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if c.secure {
		tc := c.cfg.TLS
		if tc == nil {
			tc = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		creds = credentials.NewTLS(tc)
	}
	opts := []grpc.DialOption{
		grpc.WithResolvers(r),
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(dialEndpoint),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithDisableServiceConfig(),
		grpc.WithUnaryInterceptor(c.unaryRetry),
		grpc.WithStreamInterceptor(c.streamOpen),
		grpc.WithDefaultCallOptions(
			grpc.WaitForReady(true),
			grpc.MaxCallSendMsgSize(c.cfg.MaxCallSendMsgSize),
			grpc.MaxCallRecvMsgSize(c.cfg.MaxCallRecvMsgSize),
		),
	}
	if c.cfg.DialKeepAliveTime > 0 {
		opts = append(opts, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time:                c.cfg.DialKeepAliveTime,
			Timeout:             c.cfg.DialKeepAliveTimeout,
			PermitWithoutStream: c.cfg.PermitWithoutStream,
		}))
	}
	return grpc.NewClient(target, append(opts, c.cfg.DialOptions...)...)
}

// addresses is the resolver state for a list of endpoints.
func addresses(eps []endpoint) resolver.State {
	var s resolver.State
	for _, ep := range eps {
		a := resolver.Address{Addr: ep.dial, ServerName: ep.serverName}
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{a}})
	}
	return s
}

// Close ends every watch and keep-alive of the client and its connection. It
// does not revoke leases. A second Close returns an error.
func (c *Client) Close() error {
	c.cancel()
	var errs []error
	if c.Watcher != nil {
		errs = append(errs, c.Watcher.Close())
	}
	if c.Lease != nil {
		errs = append(errs, c.Lease.Close())
	}
	c.owned.Wait()
	if c.conn != nil {
		errs = append(errs, c.conn.Close())
	} else {
		errs = append(errs, c.ctx.Err())
	}
	return errors.Join(errs...)
}

// Ctx is cancelled by Close.
func (c *Client) Ctx() context.Context { return c.ctx }

// ActiveConnection is the shared gRPC channel.
func (c *Client) ActiveConnection() *grpc.ClientConn { return c.conn }

// Endpoints returns a copy of the list in use.
func (c *Client) Endpoints() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.endpoints)
}

func (c *Client) endpointCount() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.endpoints)
}

// SetEndpoints replaces the list; connections to endpoints that are gone are
// dropped. An empty list is ignored: the last known servers are worth more.
func (c *Client) SetEndpoints(eps ...string) {
	if len(eps) == 0 || c.resolver == nil {
		return
	}
	parsed := make([]endpoint, len(eps))
	for i, s := range eps {
		parsed[i] = parseEndpoint(s)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endpoints = slices.Clone(eps)
	c.resolver.UpdateState(addresses(parsed))
}

// Sync sets the endpoints to the client URLs of the members that are started and
// vote, as a linearizable member list gives them.
func (c *Client) Sync(ctx context.Context) error {
	resp, err := c.MemberList(ctx)
	if err != nil {
		return err
	}
	var eps []string
	for _, m := range resp.Members {
		if m.Name != "" && !m.IsLearner {
			eps = append(eps, m.ClientURLs...)
		}
	}
	c.SetEndpoints(eps...)
	return nil
}

func (c *Client) autoSync() {
	for sleep(c.ctx, c.cfg.AutoSyncInterval) == nil {
		ctx, cancel := context.WithTimeout(c.ctx, autoSyncTimeout)
		if err := c.Sync(ctx); err != nil && c.ctx.Err() == nil {
			c.log.Info("auto sync of endpoints failed", "error", err)
		}
		cancel()
	}
}

// Dial opens an extra channel to exactly one endpoint, with the client's
// credentials. The caller closes it.
func (c *Client) Dial(ep string) (*grpc.ClientConn, error) {
	parsed := parseEndpoint(ep)
	r := manual.NewBuilderWithScheme("etcd-endpoints")
	r.InitialState(addresses([]endpoint{parsed}))
	return c.newConn("etcd-endpoints:///"+parsed.serverName, r)
}

// checkVersions asks every endpoint for its version.
func (c *Client) checkVersions(ctx context.Context) error {
	for _, ep := range c.Endpoints() {
		resp, err := c.Status(ctx, ep)
		if err != nil {
			return err
		}
		var major, minor int
		if _, err := fmt.Sscanf(resp.Version, "%d.%d", &major, &minor); err != nil {
			return fmt.Errorf("etcdclient: endpoint %s reports version %q: %w", ep, resp.Version, err)
		}
		if major < 3 || (major == 3 && minor < 6) {
			return ErrOldCluster
		}
	}
	return nil
}

// bounded gives ctx a limit when d is positive.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
