package cairn

import (
	"log/slog"
	"net/url"
	"slices"
	"time"
)

const (
	noTracing = "requests are not traced"
)

func options() []option {
	opts := []option{
		text("name", "default", "Name of this member.", func(c *Config) *string { return &c.Name }),
		text("data-dir", "", "Directory of the member's data; <name>.etcd if not given.", func(c *Config) *string { return &c.DataDir }),
		text("wal-dir", "", "Directory of the write-ahead log; inside the data directory if not given.", func(c *Config) *string { return &c.WALDir }),
		millis("heartbeat-interval", "100", "Milliseconds between heartbeats.", func(c *Config) *time.Duration { return &c.HeartbeatInterval }),
		millis("election-timeout", "1000", "Milliseconds without a leader before an election.", func(c *Config) *time.Duration { return &c.ElectionTimeout }),
		boolean("pre-vote", "true", "Ask before an election whether it could be won.", func(c *Config) *bool { return &c.PreVote }),
		number("max-learners", "1", "Most learners a cluster may have.", func(c *Config) *int { return &c.MaxLearners }),
		boolean("strict-reconfig-check", "true", "Refuse membership changes that would endanger the quorum.", func(c *Config) *bool { return &c.StrictReconfigCheck }),
		count("snapshot-catchup-entries", "5000", "Applied log entries kept in memory for slow members.", 63, func(c *Config, n uint64) { c.KeepEntries = n }),
		boolean("force-new-cluster", "false", "Become the only member of the cluster, with all its data: for when most members are lost. Not to be given again.", func(c *Config) *bool { return &c.ForceNewCluster }),
		urls("listen-client-urls", "http://localhost:2379", "URLs to serve clients on.", func(c *Config) *[]url.URL { return &c.ListenClientURLs }),
		urls("listen-peer-urls", "http://localhost:2380", "URLs to serve other members on.", func(c *Config) *[]url.URL { return &c.ListenPeerURLs }),
		urls("listen-metrics-urls", "", "More URLs to serve /metrics and /health on.", func(c *Config) *[]url.URL { return &c.ListenMetricsURLs }),
		urls("advertise-client-urls", "http://localhost:2379", "Client URLs to tell the cluster.", func(c *Config) *[]url.URL { return &c.AdvertiseClientURLs }),
		urls("initial-advertise-peer-urls", "http://localhost:2380", "Peer URLs to tell the cluster.", func(c *Config) *[]url.URL { return &c.InitialAdvertisePeerURLs }),
		text("initial-cluster", "", "Members to begin with, name=url,...; read at the first start only.", func(c *Config) *string { return &c.InitialCluster }),
		text("initial-cluster-token", "etcd-cluster", "Token that tells clusters apart.", func(c *Config) *string { return &c.InitialClusterToken }),
		word("initial-cluster-state", clusterNew, "new or existing.", checkClusterState, func(c *Config) *string { return &c.InitialClusterState }),
		number("quota-backend-bytes", "0", "Bytes the database may take; 0 is 2 GiB, negative no limit.", func(c *Config) *int64 { return &c.QuotaBackendBytes }),
		number("max-txn-ops", "128", "Most operations in a txn.", func(c *Config) *int { return &c.MaxTxnOps }),
		number("max-request-bytes", "1572864", "Largest request in bytes.", func(c *Config) *int { return &c.MaxRequestBytes }),
		count("max-concurrent-streams", "4294967295", "Most streams of one connection.", 32, func(c *Config, n uint64) { c.MaxConcurrentStreams = uint32(n) }),
		duration("grpc-keepalive-min-time", "5s", "Shortest time between a client's pings.", func(c *Config) *time.Duration { return &c.KeepaliveMinTime }),
		duration("grpc-keepalive-interval", "2h", "How often idle connections are pinged.", func(c *Config) *time.Duration { return &c.KeepaliveInterval }),
		duration("grpc-keepalive-timeout", "20s", "Wait for the answer to a ping.", func(c *Config) *time.Duration { return &c.KeepaliveTimeout }),
		duration("watch-progress-notify-interval", "10m", "Time between progress notifications.", func(c *Config) *time.Duration { return &c.WatchProgressInterval }),
		text("auto-compaction-mode", "periodic", "periodic or revision.", func(c *Config) *string { return &c.AutoCompactionMode }),
		text("auto-compaction-retention", "0", "History to keep: hours or a duration (periodic), revisions (revision); 0 is off.", func(c *Config) *string { return &c.AutoCompactionRetention }),
		text("cors", "*", "Origins that browsers may call from.", func(c *Config) *string { return &c.CORS }),
		text("host-whitelist", "*", "Host names that HTTP clients may use.", func(c *Config) *string { return &c.HostWhitelist }),
		boolean("enable-grpc-gateway", "true", "Serve the JSON gateway.", func(c *Config) *bool { return &c.EnableGateway }),
		boolean("enable-v2", "true", "Serve the v2 API.", func(c *Config) *bool { return &c.EnableV2 }),
		word("v2-mirror-prefix", "", "Prefix below which v3 clients see the keys of the v2 API; given empty, none.", checkMirror, func(c *Config) *string { return &c.V2MirrorPrefix }),
		text("auth-token", "simple", "Kind of tokens: simple, or jwt with options such as jwt,pub-key=a.pub,priv-key=a.pem,sign-method=RS256,ttl=10m.", func(c *Config) *string { return &c.AuthToken }),
		number("auth-token-ttl", "300", "Time in seconds that a simple token lives after its last use.", func(c *Config) *int { return &c.AuthTokenTTL }),
		number("bcrypt-cost", "10", "Cost of hashing a password, 4 to 31.", func(c *Config) *int { return &c.BcryptCost }),
		boolean("enable-pprof", "false", "Serve profiles under /debug/pprof.", func(c *Config) *bool { return &c.EnablePprof }),
		text("log-level", "info", "debug, info, warn, error, panic or fatal.", func(c *Config) *string { return &c.LogLevel }),
		text("log-format", "json", "json or console.", func(c *Config) *string { return &c.LogFormat }),
		text("log-outputs", "default", "Comma list of stderr, stdout, systemd/journal and files; or default, which is stderr.", func(c *Config) *string { return &c.LogOutputs }),
		boolean("enable-log-rotation", "false", "Exchange the log's file for a new one when it is full.", func(c *Config) *bool { return &c.EnableLogRotation }),
		text("log-rotation-config-json", defaultRotation, "When a log file is full (maxsize, MiB), how many former ones are kept (maxbackups) and for how many days (maxage), 0 for all; localtime in their names, compress.", func(c *Config) *string { return &c.LogRotationConfigJSON }),
		word("logger", "zap", "zap: the format is zap's.", checkLogger, func(*Config) *string { return new(string) }),
		text("audit-log", "", "File to record in who did what; none if not given.", func(c *Config) *string { return &c.AuditLog.File }),
		text("audit-log-level", "writes", "admin (users, roles, members, whole copies), writes (also keys and leases) or all (also reads).", func(c *Config) *string { return &c.AuditLog.Level }),
		number("audit-log-max-size", "100", "Size in MiB from which on the file is exchanged for a new one.", func(c *Config) *int { return &c.AuditLog.MaxSize }),
		number("audit-log-max-backups", "10", "Former files to keep.", func(c *Config) *int { return &c.AuditLog.MaxBackups }),
		number("audit-log-max-age", "0", "Days to keep former files; 0 for as long as there is room for them.", func(c *Config) *int { return &c.AuditLog.MaxAge }),
		boolean("audit-log-compress", "false", "Compress former files with gzip.", func(c *Config) *bool { return &c.AuditLog.Compress }),
		text("metrics", "basic", "basic, or extensive for histograms of how long calls take.", func(c *Config) *string { return &c.Metrics }),
		word("feature-gates", "", "Names of etcd's feature gates with true or false; InitialCorruptCheck and CompactHashCheck have an effect.", checkFeatureGates, func(c *Config) *string { return &c.FeatureGates }),
		duration("compact-hash-check-time", "1m", "Time between two comparisons of what members hold after a compaction.", func(c *Config) *time.Duration { return &c.CompactHashCheckTime }),
		duration("downgrade-check-time", "5s", "Time between two looks at whether a downgrade is done.", func(c *Config) *time.Duration { return &c.DowngradeCheckTime }),

		ignoredNumber("snapshot-count", "10000"), ignoredNumber("max-snapshots", "5"), ignoredNumber("max-wals", "5"),
		ignoredBool("initial-election-tick-advance", "true"),
		ignoredDuration("backend-batch-interval", "0"), ignoredNumber("backend-batch-limit", "0"), ignoredText("backend-bbolt-freelist-type", "map"),
		ignoredNumber("bootstrap-defrag-threshold-megabytes", "0"), ignoredBool("memory-mlock", "false"),
		ignoredNumber("compaction-batch-limit", "1000"), ignoredDuration("compaction-sleep-interval", "10ms"),
		ignoredDuration("warning-apply-duration", "100ms"), ignoredDuration("warning-unary-request-duration", "300ms"),
		ignoredDuration("corrupt-check-time", "0s"),
		ignoredDuration("raft-read-timeout", "5s"), ignoredDuration("raft-write-timeout", "5s"),
		ignoredText("v2-deprecation", ""),
		ignoredBool("socket-reuse-address", "false"),
		text("cert-file", "", "File of the certificate that clients are served with.", func(c *Config) *string { return &c.ClientTLS.CertFile }),
		text("key-file", "", "File of its key.", func(c *Config) *string { return &c.ClientTLS.KeyFile }),
		boolean("client-cert-auth", "false", "Clients have to show a certificate; its common name is a user's.", func(c *Config) *bool { return &c.ClientTLS.ClientCertAuth }),
		text("trusted-ca-file", "", "File of the CAs whose certificates clients have to show.", func(c *Config) *string { return &c.ClientTLS.TrustedCAFile }),
		authority("ca-file", func(c *Config) *TLSConfig { return &c.ClientTLS }), authority("peer-ca-file", func(c *Config) *TLSConfig { return &c.PeerTLS }),
		text("client-cert-file", "", "File of the certificate that a proxy shows to members; --cert-file if not given.", func(c *Config) *string { return &c.ClientTLS.ClientCertFile }),
		text("client-key-file", "", "File of its key.", func(c *Config) *string { return &c.ClientTLS.ClientKeyFile }),
		text("client-crl-file", "", "File of the certificates of clients that are revoked.", func(c *Config) *string { return &c.ClientTLS.CRLFile }),
		text("client-cert-allowed-hostname", "", "Host names of which clients' certificates need one.", func(c *Config) *string { return &c.ClientTLS.AllowedHostnames }),
		text("client-cert-allowed-cn", "", "Common names of which clients' certificates need one.", func(c *Config) *string { return &c.ClientTLS.AllowedCNs }),
		boolean("auto-tls", "false", "Serve clients with a certificate of the member's own making, if none is given.", func(c *Config) *bool { return &c.ClientTLS.AutoTLS }),
		text("peer-cert-file", "", "File of the certificate that members show each other.", func(c *Config) *string { return &c.PeerTLS.CertFile }),
		text("peer-key-file", "", "File of its key.", func(c *Config) *string { return &c.PeerTLS.KeyFile }),
		boolean("peer-client-cert-auth", "false", "Members have to show a certificate.", func(c *Config) *bool { return &c.PeerTLS.ClientCertAuth }),
		text("peer-trusted-ca-file", "", "File of the CAs whose certificates members have to show.", func(c *Config) *string { return &c.PeerTLS.TrustedCAFile }),
		text("peer-client-cert-file", "", "File of the certificate to dial other members with; --peer-cert-file if not given.", func(c *Config) *string { return &c.PeerTLS.ClientCertFile }),
		text("peer-client-key-file", "", "File of its key.", func(c *Config) *string { return &c.PeerTLS.ClientKeyFile }),
		text("peer-crl-file", "", "File of the certificates of members that are revoked.", func(c *Config) *string { return &c.PeerTLS.CRLFile }),
		text("peer-cert-allowed-cn", "", "Common names of which members' certificates need one.", func(c *Config) *string { return &c.PeerTLS.AllowedCNs }),
		text("peer-cert-allowed-hostname", "", "Host names of which members' certificates need one.", func(c *Config) *string { return &c.PeerTLS.AllowedHostnames }),
		boolean("peer-skip-client-san-verification", "false", "Do not check that a member is where its certificate says.", func(c *Config) *bool { return &c.PeerTLS.SkipClientSANVerification }),
		boolean("peer-auto-tls", "false", "Serve members with a certificate of the member's own making, if none is given.", func(c *Config) *bool { return &c.PeerTLS.AutoTLS }),
		number("self-signed-cert-validity", "1", "Years that certificates of the member's own making are good for.", func(c *Config) *int { return &c.SelfSignedCertValidity }),
		text("cipher-suites", "", "Cipher suites of TLS 1.2, by the names of Go and the IANA.", func(c *Config) *string { return &c.CipherSuites }),
		text("tls-min-version", "TLS1.2", "TLS1.2 or TLS1.3.", func(c *Config) *string { return &c.TLSMinVersion }),
		text("tls-max-version", "", "TLS1.2, TLS1.3, or empty for the highest.", func(c *Config) *string { return &c.TLSMaxVersion }),
		text("discovery", "", "URL of a token in the v2 key space of another cluster, where the first members register.", func(c *Config) *string { return &c.Discovery.URL }),
		text("discovery-proxy", "", "HTTP proxy for that traffic.", func(c *Config) *string { return &c.Discovery.Proxy }),
		word("discovery-fallback", "", "exit or, with --discovery alone and then the default, proxy: what to do when the cluster is full.", checkFallback, func(c *Config) *string { return &c.Discovery.Fallback }),
		word("proxy", "off", "off, on or readonly: forward the v2 API to members instead of being one.", checkProxy, func(c *Config) *string { return &c.Proxy.Mode }),
		millis("proxy-failure-wait", "5000", "Time that a member is left out after a failure.", func(c *Config) *time.Duration { return &c.Proxy.FailureWait }),
		millis("proxy-refresh-interval", "30000", "Time between two questions for the members.", func(c *Config) *time.Duration { return &c.Proxy.RefreshInterval }),
		millis("proxy-dial-timeout", "1000", "Limit for a connection to a member; 0 is none.", func(c *Config) *time.Duration { return &c.Proxy.DialTimeout }),
		millis("proxy-write-timeout", "5000", "Limit for sending a piece to a member; 0 is none.", func(c *Config) *time.Duration { return &c.Proxy.WriteTimeout }),
		millis("proxy-read-timeout", "0", "Limit for receiving a piece from a member; 0 is none, any other ends long polls.", func(c *Config) *time.Duration { return &c.Proxy.ReadTimeout }),
		text("discovery-srv", "", "DNS domain whose service records name the first members.", func(c *Config) *string { return &c.Discovery.SRV }),
		text("discovery-srv-name", "", "Suffix of the service names in the DNS.", func(c *Config) *string { return &c.Discovery.SRVName }),
		text("discovery-token", "", "Token under which the first members register in another cluster.", func(c *Config) *string { return &c.Discovery.Token }),
		text("discovery-endpoints", "", "Client endpoints of that other cluster.", func(c *Config) *string { return &c.Discovery.Endpoints }),
		duration("discovery-dial-timeout", "2s", "Time for a connection to it.", func(c *Config) *time.Duration { return &c.Discovery.DialTimeout }),
		duration("discovery-request-timeout", "5s", "Time for a request to it.", func(c *Config) *time.Duration { return &c.Discovery.RequestTimeout }),
		duration("discovery-keepalive-time", "2s", "Time between pings to it.", func(c *Config) *time.Duration { return &c.Discovery.KeepaliveTime }),
		duration("discovery-keepalive-timeout", "6s", "Time for the answer to a ping.", func(c *Config) *time.Duration { return &c.Discovery.KeepaliveWait }),
		boolean("discovery-insecure-transport", "true", "Connect to it without TLS, unless certificates are given.", func(c *Config) *bool { return &c.Discovery.Insecure }),
		boolean("discovery-insecure-skip-tls-verify", "false", "Do not check its certificate.", func(c *Config) *bool { return &c.Discovery.SkipVerify }),
		text("discovery-cert", "", "File of this member's certificate for it.", func(c *Config) *string { return &c.Discovery.Cert }),
		text("discovery-key", "", "File of the certificate's key.", func(c *Config) *string { return &c.Discovery.Key }),
		text("discovery-cacert", "", "File of the CA that its certificate is checked against.", func(c *Config) *string { return &c.Discovery.CACert }),
		text("discovery-user", "", "User name[:password] there.", func(c *Config) *string { return &c.Discovery.User }),
		text("discovery-password", "", "Password there.", func(c *Config) *string { return &c.Discovery.Password }),

		refusedBool("unsafe-no-fsync", "what is acknowledged is always on disk"),
		refusedBool("socket-reuse-port", "two members on one address would share its clients"),
		refused("listen-client-http-urls", "", "gRPC and HTTP share the client URLs"),
		refusedBool("enable-distributed-tracing", noTracing),
	}
	for _, name := range []string{"address", "service-name", "instance-id", "sampling-rate"} {
		opts = append(opts, ignoredText("distributed-tracing-"+name, ""))
	}
	return append(opts, formerOptions(opts)...)
}

// former are the names that options had in etcd 3.5 and 3.6, where they differ from today's with "experimental-"
// before them.
var former = map[string]string{
	"experimental-snapshot-catch-up-entries": "snapshot-catchup-entries", // in files only
}

// promoted are today's options that began with "experimental-" before their name.
var promoted = []string{
	"corrupt-check-time", "compact-hash-check-time", "compaction-batch-limit", "compaction-sleep-interval", "watch-progress-notify-interval",
	"warning-apply-duration", "warning-unary-request-duration", "bootstrap-defrag-threshold-megabytes", "memory-mlock", "snapshot-catchup-entries",
	"downgrade-check-time", "peer-skip-client-san-verification", "max-learners", "enable-distributed-tracing", "distributed-tracing-address",
	"distributed-tracing-service-name", "distributed-tracing-instance-id", "distributed-tracing-sampling-rate",
}

// formerGates are options that have become feature gates.
var formerGates = map[string]string{
	"experimental-compact-hash-check-enabled":        "CompactHashCheck",
	"experimental-initial-corrupt-check":             "InitialCorruptCheck",
	"experimental-enable-lease-checkpoint":           "LeaseCheckpoint",
	"experimental-enable-lease-checkpoint-persist":   "LeaseCheckpointPersist",
	"experimental-txn-mode-write-with-shared-buffer": "TxnModeWriteWithSharedBuffer",
	"experimental-stop-grpc-service-on-defrag":       "StopGRPCServiceOnDefrag",
	"experimental-set-member-localaddr":              "SetMemberLocalAddr",
}

// historic are options of etcd's first versions, which etcd itself still passes over.
var historic = []string{
	"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer", "max-retry-attempts",
	"peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v", "vv", "test.coverprofile", "test.outputdir",
}

// formerOptions are the options under names that they have no more.
func formerOptions(today []option) (out []option) {
	alias := func(old, name string) {
		o := today[slices.IndexFunc(today, func(o option) bool { return o.name == name })]
		o.name, o.successor = old, name
		out = append(out, o)
	}
	for old, name := range former {
		alias(old, name)
	}
	for _, name := range promoted {
		alias("experimental-"+name, name)
	}
	for old, gate := range formerGates {
		o := ignoredBool(old, "false")
		o.successor = "feature-gates=" + gate
		out = append(out, o)
	}
	for _, name := range historic {
		out = append(out, option{name: name, boolean: true, set: func(c *Config, v string) error {
			if v != "" { // not its default
				c.note(slog.LevelWarn, "flag is no longer supported - ignoring", "flag-name", name)
			}
			return nil
		}})
	}
	return out
}
