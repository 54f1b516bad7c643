package cairn

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Config is what a member is started with. DefaultConfig gives etcd's defaults (server-config.md section 2).
type Config struct {
	Name    string
	DataDir string // "" stands for <name>.etcd in the working directory
	WALDir  string // "" stands for a directory inside DataDir

	HeartbeatInterval, ElectionTimeout time.Duration
	PreVote                            bool
	MaxLearners                        int

	ListenClientURLs, ListenPeerURLs, ListenMetricsURLs      []url.URL
	AdvertiseClientURLs, InitialAdvertisePeerURLs            []url.URL
	InitialCluster, InitialClusterToken, InitialClusterState string
	QuotaBackendBytes                                        int64 // 0 stands for 2 GiB, negative for no quota
	MaxTxnOps, MaxRequestBytes                               int
	MaxConcurrentStreams                                     uint32
	KeepaliveMinTime, KeepaliveInterval, KeepaliveTimeout    time.Duration
	WatchProgressInterval                                    time.Duration
	AutoCompactionMode, AutoCompactionRetention              string
	CORS, HostWhitelist                                      string
	EnableGateway, EnablePprof                               bool
	LogLevel, LogFormat, LogOutputs                          string
	Metrics                                                  string // extensive, or anything else for less

	Logger *slog.Logger // nil makes one from the Log fields

	given map[string]bool // options that were set, by name
}

// option is one row of the only list of options: flag, ETCD_ variable and YAML key all come from here.
type option struct {
	name, def, help string
	boolean         bool
	nanos           bool // a duration, which the configuration file gives in nanoseconds
	set             func(c *Config, v string) error
}

func options() []option {
	str := func(name, def, help string, f func(*Config) *string) option {
		return option{name: name, def: def, help: help, set: func(c *Config, v string) error { *f(c) = v; return nil }}
	}
	boolean := func(name, def, help string, f func(*Config) *bool) option {
		return option{name: name, def: def, help: help, boolean: true, set: func(c *Config, v string) (err error) {
			*f(c), err = strconv.ParseBool(v)
			return err
		}}
	}
	millis := func(name, def, help string, f func(*Config) *time.Duration) option {
		return option{name: name, def: def, help: help, set: func(c *Config, v string) error {
			n, err := strconv.ParseUint(v, 10, 31)
			*f(c) = time.Duration(n) * time.Millisecond
			return err
		}}
	}
	duration := func(name, def, help string, f func(*Config) *time.Duration) option {
		return option{name: name, def: def, help: help, nanos: true, set: func(c *Config, v string) (err error) {
			*f(c), err = time.ParseDuration(v)
			return err
		}}
	}
	urls := func(name, def, help string, f func(*Config) *[]url.URL) option {
		return option{name: name, def: def, help: help, set: func(c *Config, v string) (err error) {
			*f(c), err = parseURLs(v)
			return err
		}}
	}
	integer := func(name, def, help string, f func(*Config) *int) option {
		return option{name: name, def: def, help: help, set: func(c *Config, v string) (err error) {
			*f(c), err = strconv.Atoi(v)
			return err
		}}
	}
	ignored := func(name, def string) option {
		return option{name: name, def: def, help: "Accepted for compatibility; has no effect.", set: func(*Config, string) error { return nil }}
	}
	refused := func(name, why string) option {
		return option{name: name, help: "Not supported: " + why, set: func(_ *Config, v string) error {
			if v == "" || v == "false" {
				return nil
			}
			return errors.New("not supported: " + why)
		}}
	}
	const noTLS = "this server serves plain text only"
	return []option{
		str("name", "default", "Name of this member.", func(c *Config) *string { return &c.Name }),
		str("data-dir", "", "Directory of the member's data; <name>.etcd if not given.", func(c *Config) *string { return &c.DataDir }),
		str("wal-dir", "", "Directory of the write-ahead log; inside the data directory if not given.", func(c *Config) *string { return &c.WALDir }),
		millis("heartbeat-interval", "100", "Milliseconds between heartbeats.", func(c *Config) *time.Duration { return &c.HeartbeatInterval }),
		millis("election-timeout", "1000", "Milliseconds without a leader before an election.", func(c *Config) *time.Duration { return &c.ElectionTimeout }),
		boolean("pre-vote", "true", "Ask before an election whether it could be won.", func(c *Config) *bool { return &c.PreVote }),
		integer("max-learners", "1", "Most learners a cluster may have.", func(c *Config) *int { return &c.MaxLearners }),
		urls("listen-client-urls", "http://localhost:2379", "URLs to serve clients on.", func(c *Config) *[]url.URL { return &c.ListenClientURLs }),
		urls("listen-peer-urls", "http://localhost:2380", "URLs to serve other members on.", func(c *Config) *[]url.URL { return &c.ListenPeerURLs }),
		urls("listen-metrics-urls", "", "More URLs to serve /metrics and /health on.", func(c *Config) *[]url.URL { return &c.ListenMetricsURLs }),
		urls("advertise-client-urls", "http://localhost:2379", "Client URLs to tell the cluster.", func(c *Config) *[]url.URL { return &c.AdvertiseClientURLs }),
		urls("initial-advertise-peer-urls", "http://localhost:2380", "Peer URLs to tell the cluster.", func(c *Config) *[]url.URL { return &c.InitialAdvertisePeerURLs }),
		str("initial-cluster", "", "Members to begin with, name=url,...", func(c *Config) *string { return &c.InitialCluster }),
		str("initial-cluster-token", "etcd-cluster", "Token that tells clusters apart.", func(c *Config) *string { return &c.InitialClusterToken }),
		str("initial-cluster-state", "new", "new or existing.", func(c *Config) *string { return &c.InitialClusterState }),
		{name: "quota-backend-bytes", def: "0", help: "Bytes the database may take; 0 is 2 GiB, negative no limit.", set: func(c *Config, v string) (err error) {
			c.QuotaBackendBytes, err = strconv.ParseInt(v, 10, 64)
			return err
		}},
		integer("max-txn-ops", "128", "Most operations in a txn.", func(c *Config) *int { return &c.MaxTxnOps }),
		integer("max-request-bytes", "1572864", "Largest request in bytes.", func(c *Config) *int { return &c.MaxRequestBytes }),
		{name: "max-concurrent-streams", def: "4294967295", help: "Most streams of one connection.", set: func(c *Config, v string) error {
			n, err := strconv.ParseUint(v, 10, 32)
			c.MaxConcurrentStreams = uint32(n)
			return err
		}},
		duration("grpc-keepalive-min-time", "5s", "Shortest time between a client's pings.", func(c *Config) *time.Duration { return &c.KeepaliveMinTime }),
		duration("grpc-keepalive-interval", "2h", "How often idle connections are pinged.", func(c *Config) *time.Duration { return &c.KeepaliveInterval }),
		duration("grpc-keepalive-timeout", "20s", "Wait for the answer to a ping.", func(c *Config) *time.Duration { return &c.KeepaliveTimeout }),
		duration("watch-progress-notify-interval", "10m", "Time between progress notifications.", func(c *Config) *time.Duration { return &c.WatchProgressInterval }),
		str("auto-compaction-mode", "periodic", "periodic or revision.", func(c *Config) *string { return &c.AutoCompactionMode }),
		str("auto-compaction-retention", "0", "History to keep: hours or a duration (periodic), revisions (revision); 0 is off.", func(c *Config) *string { return &c.AutoCompactionRetention }),
		str("cors", "*", "Origins that browsers may call from.", func(c *Config) *string { return &c.CORS }),
		str("host-whitelist", "*", "Host names that HTTP clients may use.", func(c *Config) *string { return &c.HostWhitelist }),
		boolean("enable-grpc-gateway", "true", "Serve the JSON gateway.", func(c *Config) *bool { return &c.EnableGateway }),
		boolean("enable-pprof", "false", "Serve profiles under /debug/pprof.", func(c *Config) *bool { return &c.EnablePprof }),
		str("log-level", "info", "debug, info, warn or error.", func(c *Config) *string { return &c.LogLevel }),
		str("log-format", "json", "json or console.", func(c *Config) *string { return &c.LogFormat }),
		str("log-outputs", "default", "default, stderr, stdout or a file.", func(c *Config) *string { return &c.LogOutputs }),
		str("logger", "zap", "Only zap is known; the format is the same.", func(c *Config) *string { return new(string) }),
		str("metrics", "basic", "basic, or extensive for histograms of how long calls take.", func(c *Config) *string { return &c.Metrics }),
		ignored("snapshot-count", "10000"), ignored("max-snapshots", "5"), ignored("max-wals", "5"),
		ignored("strict-reconfig-check", "true"), ignored("backend-batch-interval", "0"), ignored("backend-batch-limit", "0"),
		ignored("backend-bbolt-freelist-type", "map"), ignored("initial-election-tick-advance", "true"),
		ignored("compaction-batch-limit", "1000"), ignored("compaction-sleep-interval", "10ms"), ignored("snapshot-catchup-entries", "5000"),
		ignored("warning-apply-duration", "100ms"), ignored("warning-unary-request-duration", "300ms"), ignored("bcrypt-cost", "10"),
		ignored("auth-token", "simple"), ignored("auth-token-ttl", "300"), ignored("downgrade-check-time", "5s"),
		refused("unsafe-no-fsync", "what is acknowledged is always on disk"),
		refused("force-new-cluster", "clusters of several members are not supported"),
		refused("discovery-srv", "clusters of several members are not supported"),
		refused("discovery-token", "clusters of several members are not supported"),
		refused("discovery-endpoints", "clusters of several members are not supported"),
		refused("cert-file", noTLS), refused("key-file", noTLS), refused("trusted-ca-file", noTLS), refused("client-cert-auth", noTLS),
		refused("auto-tls", noTLS), refused("peer-cert-file", noTLS), refused("peer-key-file", noTLS), refused("peer-trusted-ca-file", noTLS),
		refused("peer-client-cert-auth", noTLS), refused("peer-auto-tls", noTLS),
		refused("listen-client-http-urls", "gRPC and HTTP share the client URLs"),
	}
}

// DefaultConfig is a member named "default" on localhost.
func DefaultConfig() Config {
	c := Config{given: map[string]bool{}}
	for _, o := range options() {
		if err := o.set(&c, o.def); err != nil {
			panic(fmt.Sprintf("cairn: default of option %s: %v", o.name, err))
		}
	}
	return c
}

// ErrHelp is returned by ParseArgs when help was asked for and printed.
var ErrHelp = flag.ErrHelp

// UsageError is a command line that cannot be understood.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

// ParseArgs makes a configuration from flags and ETCD_ variables, or from a file if one is named.
func ParseArgs(args, environ []string, out io.Writer) (Config, error) {
	c := DefaultConfig()
	fs := flag.NewFlagSet("cairn", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	opts := options()
	for _, o := range opts {
		set := func(v string) error {
			c.given[o.name] = true
			return o.set(&c, v)
		}
		if o.boolean {
			fs.BoolFunc(o.name, o.help, set)
		} else {
			fs.Func(o.name, o.help, set)
		}
	}
	file := fs.String("config-file", "", "File to take the configuration from; flags and variables are then ignored.")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(out, opts)
			return c, ErrHelp
		}
		return c, &UsageError{err}
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("%q is not a valid flag", fs.Arg(0))
	}
	env := map[string]string{}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok && v != "" {
			env[k] = v
		}
	}
	if *file == "" {
		*file = env["ETCD_CONFIG_FILE"]
	}
	if *file != "" {
		return fromFile(*file)
	}
	for _, o := range opts {
		v, ok := env[variable(o.name)]
		if !ok {
			continue
		}
		if c.given[o.name] {
			return c, fmt.Errorf("conflicting environment variable %q is shadowed by corresponding command-line flag (either unset environment variable or disable flag)", variable(o.name))
		}
		c.given[o.name] = true
		if err := o.set(&c, v); err != nil {
			return c, fmt.Errorf("invalid value %q for %s: %w", v, variable(o.name), err)
		}
	}
	return c, nil
}

func variable(name string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func printHelp(out io.Writer, opts []option) {
	fmt.Fprintln(out, "Usage: cairn [flags]    run a member\n       cairn ctl ...      talk to members (etcdctl)\n       cairn --version\n\nFlags (each also as variable ETCD_NAME):")
	for _, o := range opts {
		def := ""
		if o.def != "" {
			def = fmt.Sprintf(" (default %q)", o.def)
		}
		fmt.Fprintf(out, "  --%s%s\n        %s\n", o.name, def, o.help)
	}
}

func fromFile(name string) (Config, error) {
	c := DefaultConfig()
	b, err := os.ReadFile(name)
	if err != nil {
		return c, err
	}
	var m map[string]any
	if err := yaml.Unmarshal(b, &m); err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	for _, o := range options() {
		v, ok := m[o.name]
		if !ok {
			continue
		}
		text := fmt.Sprint(v)
		if l, isList := v.([]any); isList {
			parts := make([]string, len(l))
			for i := range l {
				parts[i] = fmt.Sprint(l[i])
			}
			text = strings.Join(parts, ",")
		}
		if o.nanos {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return c, fmt.Errorf("%s: %s: a duration is given in nanoseconds: %w", name, o.name, err)
			}
			text = time.Duration(n).String()
		}
		c.given[o.name] = true
		if err := o.set(&c, text); err != nil {
			return c, fmt.Errorf("%s: invalid value %q for %s: %w", name, text, o.name, err)
		}
	}
	return c, nil
}

func parseURLs(s string) ([]url.URL, error) {
	if s == "" {
		return nil, nil
	}
	var out []url.URL
	for _, part := range strings.Split(s, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		switch u.Scheme {
		case "http", "https":
			if u.Path != "" {
				return nil, fmt.Errorf("URL must not contain a path: %s", part)
			}
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				return nil, fmt.Errorf("URL address does not have the form \"host:port\": %s", part)
			}
		case "unix", "unixs":
		default:
			return nil, fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", part)
		}
		if !slices.ContainsFunc(out, func(o url.URL) bool { return o.String() == u.String() }) {
			out = append(out, *u)
		}
	}
	return out, nil
}

func urlStrings(us []url.URL) (out []string) {
	for _, u := range us {
		out = append(out, u.String())
	}
	return out
}

// Validate checks what the options are together, and fills in what follows from them.
func (c *Config) Validate() error {
	if c.DataDir == "" {
		c.DataDir = c.Name + ".etcd"
	}
	for _, u := range slices.Concat(c.ListenClientURLs, c.ListenPeerURLs, c.ListenMetricsURLs) {
		if host := u.Hostname(); u.Scheme == "http" && host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("expected IP in URL for binding (%s)", u.String())
		}
	}
	if c.given["listen-client-urls"] && !c.given["advertise-client-urls"] {
		return errors.New("--advertise-client-urls is required when --listen-client-urls is set explicitly")
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
	if c.InitialClusterState != "new" && c.InitialClusterState != "existing" {
		return fmt.Errorf("unexpected clusterState %q", c.InitialClusterState)
	}
	if c.MaxTxnOps <= 0 || c.MaxRequestBytes <= 0 {
		return errors.New("--max-txn-ops and --max-request-bytes must be >0")
	}
	if c.WatchProgressInterval < 100*time.Millisecond {
		c.WatchProgressInterval = 100 * time.Millisecond
	}
	if _, err := c.compaction(); err != nil {
		return err
	}
	_, _, err := c.identity()
	return err
}

// identity is the member and the cluster that the options describe.
func (c *Config) identity() (cluster.Member, cluster.ID, error) {
	peers := urlStrings(c.InitialAdvertisePeerURLs)
	if c.InitialCluster != "" {
		var mine []string
		for _, part := range strings.Split(c.InitialCluster, ",") {
			name, u, ok := strings.Cut(strings.TrimSpace(part), "=")
			if !ok {
				return cluster.Member{}, 0, fmt.Errorf("--initial-cluster has %q, which is not name=url", part)
			}
			if name != c.Name {
				return cluster.Member{}, 0, fmt.Errorf("--initial-cluster names the member %q beside %q: clusters of several members are not supported", name, c.Name)
			}
			mine = append(mine, u)
		}
		slices.Sort(mine)
		if want := slices.Sorted(slices.Values(peers)); !slices.Equal(mine, want) {
			return cluster.Member{}, 0, fmt.Errorf("--initial-cluster has %s=%s but missing from --initial-advertise-peer-urls=%s", c.Name, strings.Join(mine, ","), strings.Join(want, ","))
		}
	}
	if c.InitialClusterState == "existing" {
		return cluster.Member{}, 0, errors.New("--initial-cluster-state=existing: joining a cluster is not supported")
	}
	m := cluster.Member{PeerURLs: peers, Name: c.Name}
	m.ID = cluster.MemberID(peers, c.InitialClusterToken, 0)
	return m, cluster.ClusterID([]cluster.Member{m}), nil
}

const metricsExtensive = "extensive"

const defaultQuota = 2 << 30

func (c *Config) quota() int64 {
	if c.QuotaBackendBytes == 0 {
		return defaultQuota
	}
	return c.QuotaBackendBytes
}

func (c *Config) electionTicks() int { return int(c.ElectionTimeout / c.HeartbeatInterval) }

// minLeaseTTL is the shortest TTL in seconds (v3-grpc.md section 13.1).
func (c *Config) minLeaseTTL() int64 {
	d := time.Duration(3*c.electionTicks()/2) * c.HeartbeatInterval
	return int64((d + time.Second - 1) / time.Second)
}
