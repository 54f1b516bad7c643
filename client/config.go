package client

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"time"

	"google.golang.org/grpc"
)

// Defaults that apply to zero values in Config.
const (
	defaultMaxSendBytes      = 2 << 20
	defaultMaxRecvBytes      = math.MaxInt32
	defaultKeepAliveTime     = 10 * time.Second
	defaultKeepAliveTimeout  = 3 * time.Second
	defaultMaxUnaryRetries   = 100
	defaultBackoff           = 25 * time.Millisecond
	defaultBackoffJitter     = 0.10
	maxBackoff               = 500 * time.Millisecond
	defaultFirstKeepAliveTTL = 5 * time.Second
	autoSyncTimeout          = 5 * time.Second
	defaultWatchBufferBytes  = 16 << 20
)

// Config says how a Client connects. Only Endpoints is required.
type Config struct {
	// Endpoints lists the servers: host:port, http://host:port,
	// https://host:port, unix://path, unixs://path or unix:path. Plaintext
	// (http) and secure (https, unixs) entries cannot be mixed.
	Endpoints []string `json:"endpoints"`

	// AutoSyncInterval is the pause between updates of Endpoints from the
	// member list; 0 turns them off.
	AutoSyncInterval time.Duration `json:"auto-sync-interval"`

	// DialTimeout bounds the work New itself does over the network: fetching
	// the auth token. 0 means no bound. It does not bound connecting.
	DialTimeout time.Duration `json:"dial-timeout"`

	// DialKeepAliveTime is the period of HTTP/2 pings, 0 for 10 s (the least
	// gRPC allows), negative for no pings. DialKeepAliveTimeout is the wait
	// for an answer before the connection is given up, 0 for 3 s.
	DialKeepAliveTime    time.Duration `json:"dial-keep-alive-time"`
	DialKeepAliveTimeout time.Duration `json:"dial-keep-alive-timeout"`

	// MaxCallSendMsgSize and MaxCallRecvMsgSize are limits in bytes for one
	// message; 0 means 2 MiB and 2 GiB-1.
	MaxCallSendMsgSize int
	MaxCallRecvMsgSize int

	// TLS turns transport security on, unless the endpoints say http://.
	TLS *tls.Config

	// Username and Password authenticate when both are set. Token is a ready
	// token that is sent as it is and never refreshed; it excludes the others.
	Username string `json:"username"`
	Password string `json:"password"`
	Token    string `json:"token"`

	// RejectOldCluster makes New fail with ErrOldCluster when an endpoint
	// reports a version older than 3.6.
	RejectOldCluster bool `json:"reject-old-cluster"`

	// DialOptions are given to gRPC after the client's own.
	DialOptions []grpc.DialOption

	// Context is the base context of the client, Background when nil.
	Context context.Context

	// Logger receives what the client thinks worth telling; nil is silence.
	Logger *slog.Logger

	// PermitWithoutStream sends pings on connections without active calls.
	PermitWithoutStream bool `json:"permit-without-stream"`

	// MaxUnaryRetries bounds the attempts of one call, 0 means 100.
	MaxUnaryRetries uint `json:"max-unary-retries"`
	// BackoffWaitBetween is the first wait between rounds of attempts over
	// the endpoints, 0 means 25 ms; it doubles per round up to 500 ms.
	BackoffWaitBetween time.Duration `json:"backoff-wait-between"`
	// BackoffJitterFraction spreads each wait by that share, 0 means 0.10.
	BackoffJitterFraction float64 `json:"backoff-jitter-fraction"`

	// WatchBufferBytes bounds the events held for one slow watcher, 0 means
	// 16 MiB. A watcher over the bound is parked: the server stops sending and
	// the client asks again from where it stopped when the reader caught up.
	WatchBufferBytes int
}

// withDefaults returns a checked copy with every zero value replaced.
func (c Config) withDefaults() (Config, error) {
	if len(c.Endpoints) == 0 {
		return c, ErrNoAvailableEndpoints
	}
	if c.Token != "" && (c.Username != "" || c.Password != "") {
		return c, ErrMutuallyExclusiveCfg
	}
	if c.MaxCallRecvMsgSize > 0 && c.MaxCallSendMsgSize > c.MaxCallRecvMsgSize {
		return c, errors.New("etcdclient: MaxCallSendMsgSize is larger than MaxCallRecvMsgSize")
	}
	if c.MaxCallSendMsgSize <= 0 {
		c.MaxCallSendMsgSize = defaultMaxSendBytes
	}
	if c.MaxCallRecvMsgSize <= 0 {
		c.MaxCallRecvMsgSize = defaultMaxRecvBytes
	}
	if c.Context == nil {
		c.Context = context.Background()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.DialKeepAliveTime == 0 {
		c.DialKeepAliveTime = defaultKeepAliveTime
	}
	if c.DialKeepAliveTimeout == 0 {
		c.DialKeepAliveTimeout = defaultKeepAliveTimeout
	}
	if c.MaxUnaryRetries == 0 {
		c.MaxUnaryRetries = defaultMaxUnaryRetries
	}
	if c.BackoffWaitBetween <= 0 {
		c.BackoffWaitBetween = defaultBackoff
	}
	if c.BackoffJitterFraction <= 0 {
		c.BackoffJitterFraction = defaultBackoffJitter
	}
	if c.WatchBufferBytes <= 0 {
		c.WatchBufferBytes = defaultWatchBufferBytes
	}
	return c, nil
}
