package cairn

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	fallbackExit  = "exit"
	fallbackProxy = "proxy"

	clusterNew      = "new"
	clusterExisting = "existing"

	mostRequestBytes   = 1 << 30 // a message of gRPC holds at most four times that
	leastProgressEvery = 100 * time.Millisecond
)

// Validate checks what the options are together, and fills in what follows from them. It touches no file.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		c.DataDir = c.Name + ".etcd"
	}
	if err := c.validateURLs(); err != nil {
		return err
	}
	hb, el := c.HeartbeatInterval, c.ElectionTimeout
	switch {
	case hb <= 0:
		return fmt.Errorf("--heartbeat-interval must be >0 (set to %dms)", hb.Milliseconds())
	case el <= 0:
		return fmt.Errorf("--election-timeout must be >0 (set to %dms)", el.Milliseconds())
	case 5*hb > el:
		return fmt.Errorf("--election-timeout[%vms] should be at least as 5 times as --heartbeat-interval[%vms]", el.Milliseconds(), hb.Milliseconds())
	case el > 50*time.Second:
		return fmt.Errorf("--election-timeout[%vms] is too long, and should be set less than 50000ms", el.Milliseconds())
	}
	if err := checkClusterState(c.InitialClusterState); err != nil {
		return err
	}
	if err := cmp.Or(c.validateDiscovery(), c.validateTLS()); err != nil {
		return err
	}
	switch {
	case c.MaxTxnOps <= 0:
		return fmt.Errorf("--max-txn-ops must be >0 (set to %d)", c.MaxTxnOps)
	case c.MaxRequestBytes <= 0:
		return fmt.Errorf("--max-request-bytes must be >0 (set to %d)", c.MaxRequestBytes)
	case c.MaxRequestBytes > mostRequestBytes:
		return fmt.Errorf("--max-request-bytes must be at most %d (set to %d)", mostRequestBytes, c.MaxRequestBytes)
	}
	if c.CompactHashCheckTime <= 0 {
		return fmt.Errorf("--compact-hash-check-time must be >0 (set to %v)", c.CompactHashCheckTime)
	}
	if c.DowngradeCheckTime <= 0 {
		return fmt.Errorf("--downgrade-check-time must be >0 (set to %v)", c.DowngradeCheckTime)
	}
	if c.AuthTokenTTL <= 0 {
		return fmt.Errorf("--auth-token-ttl must be >0 (set to %d)", c.AuthTokenTTL)
	}
	if err := c.Proxy.validate(); err != nil {
		return err
	}
	c.WatchProgressInterval = max(c.WatchProgressInterval, leastProgressEvery)
	if _, err := c.compaction(); err != nil {
		return err
	}
	for _, origin := range splitList(c.CORS) {
		if _, err := url.Parse(origin); err != nil {
			return fmt.Errorf("--cors: Invalid CORS origin: %s", origin)
		}
	}
	if err := c.AuditLog.validate(); err != nil {
		return err
	}
	return c.validateLogging()
}

func (c *Config) validateURLs() error {
	if err := cmp.Or(
		checkListen("listen-client-urls", c.ListenClientURLs),
		checkListen("listen-peer-urls", c.ListenPeerURLs),
		checkListen("listen-metrics-urls", c.ListenMetricsURLs),
		checkAdvertise("advertise-client-urls", c.AdvertiseClientURLs),
		checkAdvertise("initial-advertise-peer-urls", c.InitialAdvertisePeerURLs),
	); err != nil {
		return err
	}
	if len(c.ListenClientURLs) == 0 {
		return errors.New("--listen-client-urls must not be empty")
	}
	if c.given["listen-client-urls"] && !c.given["advertise-client-urls"] && c.Proxy.Mode == proxyOff {
		return errors.New("--advertise-client-urls is required when --listen-client-urls is set explicitly")
	}
	return nil
}

func (c *Config) validateDiscovery() error {
	d := &c.Discovery
	ways := 0
	for _, set := range []bool{c.InitialCluster != "", d.SRV != "", d.Endpoints != "", d.URL != ""} {
		if set {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("multiple discovery or bootstrap flags are set. Choose one of --initial-cluster, --discovery, --discovery-srv and --discovery-endpoints")
	case d.Fallback == fallbackProxy && d.URL == "":
		return errors.New("--discovery-fallback=proxy is for --discovery: with no other way a member turns into a proxy")
	case d.Proxy != "" && d.URL == "":
		return errors.New("--discovery-proxy is for --discovery, which is not set")
	case (d.Token == "") != (d.Endpoints == ""):
		return errors.New("both --discovery-token and --discovery-endpoints must be set")
	case d.Endpoints != "" && slices.Contains(strings.Split(strings.ReplaceAll(d.Endpoints, " ", ""), ","), ""):
		return errors.New("--discovery-endpoints must not contain empty endpoints")
	}
	return nil
}

func checkFallback(s string) error {
	switch s {
	case "", fallbackExit, fallbackProxy:
		return nil
	}
	return errors.New("exit or proxy is expected")
}

func checkMirror(s string) error {
	if s != "" && strings.Trim(s, "/") == "" {
		return errors.New("a prefix with a name is expected, such as /v2")
	}
	return nil
}

func checkClusterState(s string) error {
	if s != clusterNew && s != clusterExisting {
		return fmt.Errorf("unexpected clusterState %q: new or existing is expected", s)
	}
	return nil
}

// gates are the feature gates of etcd 3.7. Most have no effect: what they switch is always so here, or has no counterpart.
var gates = []string{
	"AllAlpha", "AllBeta", "StopGRPCServiceOnDefrag", "InitialCorruptCheck", "CompactHashCheck", "TxnModeWriteWithSharedBuffer",
	"LeaseCheckpoint", "LeaseCheckpointPersist", "SetMemberLocalAddr", "FastLeaseKeepAlive", "PriorityRequest",
}

func checkFeatureGates(s string) error {
	_, err := parseGates(s)
	return err
}

// gate is the value of a feature gate, def if it is not given.
func (c *Config) gate(name string, def bool) bool {
	on, _ := parseGates(c.FeatureGates) // checked when it was set
	if b, ok := on[name]; ok {
		return b
	}
	return def
}

func parseGates(s string) (map[string]bool, error) {
	on := map[string]bool{}
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, v, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fmt.Errorf("missing bool value for %s", name)
		}
		if !slices.Contains(gates, name) {
			return nil, fmt.Errorf("unrecognized feature gate: %s", name)
		}
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("invalid value of %s=%s: %w", name, v, errBool)
		}
		on[name] = b
	}
	if on["LeaseCheckpointPersist"] && !on["LeaseCheckpoint"] && !on["AllAlpha"] {
		return nil, errors.New("enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")
	}
	return on, nil
}
