package cairn

import (
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Config is what a member is started with. DefaultConfig gives etcd's defaults (server-config.md section 2).
type Config struct {
	Name    string
	DataDir string // "" stands for <name>.etcd in the working directory
	WALDir  string // "" stands for a directory inside DataDir

	HeartbeatInterval, ElectionTimeout time.Duration
	PreVote                            bool
	MaxLearners                        int
	StrictReconfigCheck                bool
	ForceNewCluster                    bool   // become the only member of the cluster, with all its data
	KeepEntries                        uint64 // applied log entries kept in memory for slow members

	CompactHashCheckTime time.Duration // between two comparisons of members' data
	DowngradeCheckTime   time.Duration // between two looks at whether a downgrade is done
	FeatureGates         string

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
	EnableV2                                                 bool // serve /v2/keys
	// V2MirrorPrefix is where v3 clients see the keys of the v2 API. If it is empty and no option has said so, the cluster
	// goes on as it is.
	V2MirrorPrefix                  string
	BcryptCost                      int // of hashing a password
	AuthToken                       string
	AuthTokenTTL                    int // of simple tokens, in seconds
	EnableGateway, EnablePprof      bool
	LogLevel, LogFormat, LogOutputs string // LogOutputs is a comma list
	EnableLogRotation               bool   // of the one file among LogOutputs
	LogRotationConfigJSON           string
	Metrics                         string // extensive, or anything else for less
	AuditLog                        AuditConfig

	ClientTLS, PeerTLS     TLSConfig // of what clients and members are served, and of what is dialed
	CipherSuites           string    // of TLS 1.2, a comma list of names
	TLSMinVersion          string    // TLS1.2 or TLS1.3
	TLSMaxVersion          string    // the same, or "" for the highest
	SelfSignedCertValidity int       // in years
	Discovery              DiscoveryConfig
	Proxy                  ProxyConfig

	Logger *slog.Logger // nil makes one from the Log fields

	given map[string]bool // options that were set, by name
	notes []note          // what there is to say about how they were set
}

// DiscoveryConfig says where a member that has no data asks who the first members are.
type DiscoveryConfig struct {
	SRV, SRVName                                              string // a domain, and a suffix of its service names
	URL, Proxy                                                string // a token in a v2 key space, and an HTTP proxy to it
	Fallback                                                  string // when the cluster of the URL is full: exit or proxy
	Token                                                     string
	Endpoints                                                 string // of the registry, a comma list
	DialTimeout, RequestTimeout, KeepaliveTime, KeepaliveWait time.Duration
	Insecure, SkipVerify                                      bool
	Cert, Key, CACert                                         string // files
	User, Password                                            string // User may be name:password
}

// TLSConfig names the files of TLS, "" for none, and says what certificates have to be.
type TLSConfig struct {
	CertFile, KeyFile             string // to serve with
	ClientCertFile, ClientKeyFile string // to dial with; the same if not given
	TrustedCAFile                 string // whose certificates others have to show
	CRLFile                       string // certificates that are revoked
	ClientCertAuth                bool   // clients have to show certificates; for the client URLs: and are the user of that name
	AutoTLS                       bool   // without files, serve with a certificate of one's own making
	AllowedCNs, AllowedHostnames  string // comma lists
	SkipClientSANVerification     bool   // a member may come from elsewhere than its certificate says
}

// note is a line for the log, which is not open yet while options are read.
type note struct {
	level slog.Level
	msg   string
	args  []any
}

// note adds a line, once however often the same is found.
func (c *Config) note(level slog.Level, msg string, args ...any) {
	n := note{level, msg, args}
	if !slices.ContainsFunc(c.notes, func(o note) bool { return reflect.DeepEqual(o, n) }) {
		c.notes = append(c.notes, n)
	}
}

// DefaultConfig is a member named "default" on localhost.
func DefaultConfig() Config {
	c := Config{given: map[string]bool{}}
	for _, o := range options() {
		if o.successor != "" {
			continue
		}
		if err := o.set(&c, o.def); err != nil {
			panic(fmt.Sprintf("cairn: default of option %s: %v", o.name, err))
		}
	}
	return c
}

const metricsExtensive = "extensive"

const defaultQuota = 2 << 30

// manyStreams is how many streams a connection may have if no option says so.
const manyStreams = 100_000

func (c *Config) streams() uint32 {
	if !c.given["max-concurrent-streams"] {
		return min(c.MaxConcurrentStreams, manyStreams)
	}
	return c.MaxConcurrentStreams
}

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

// mirror is the prefix that this member asks for when it leads, nil for none in particular.
func (c *Config) mirror() *string {
	if c.V2MirrorPrefix == "" && !c.given["v2-mirror-prefix"] {
		return nil
	}
	return new(strings.TrimRight(c.V2MirrorPrefix, "/"))
}

// compareEvery is how often what members hold is compared; 0 if it is switched off.
func (c *Config) compareEvery() time.Duration {
	if !c.gate("CompactHashCheck", true) {
		return 0
	}
	return c.CompactHashCheckTime
}

// checkedAtStart is how large a database may be, in bytes, to be compared with the others' whenever its member starts.
const checkedAtStart = 1 << 30

// checkAtStart is that size as the feature gate has it: any if it is on, none if it is off.
func (c *Config) checkAtStart() int64 {
	switch {
	case c.gate("InitialCorruptCheck", false):
		return math.MaxInt64
	case !c.gate("InitialCorruptCheck", true):
		return -1
	}
	return checkedAtStart
}
