package cairn

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func parse(args ...string) (Config, error) { return ParseArgs(args, nil, &bytes.Buffer{}) }

// check is what the program does before it starts a member.
func check(args, environ []string) (Config, error) {
	c, err := ParseArgs(args, environ, &bytes.Buffer{})
	if err == nil {
		err = c.Validate()
	}
	return c, err
}

func (c *Config) said() string {
	var b strings.Builder
	for _, n := range c.notes {
		fmt.Fprintln(&b, n.level, n.msg, n.args)
	}
	return b.String()
}

func TestEveryOptionTakesItsDefault(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range options() {
		require.False(t, seen[o.name], "%s comes twice", o.name)
		seen[o.name] = true
		if o.def == "" && o.boolean {
			continue
		}
		_, err := check([]string{"--" + o.name + "=" + o.def, "--advertise-client-urls=http://localhost:2379"}, nil)
		require.NoError(t, err, o.name)
		if o.def == "" {
			continue
		}
		env := []string{variable(o.name) + "=" + o.def}
		if o.name == "listen-client-urls" {
			env = append(env, "ETCD_ADVERTISE_CLIENT_URLS=http://localhost:2379")
		}
		_, err = check(nil, env)
		require.NoError(t, err, o.name)
	}
}

// A flag that is a switch in etcd does not swallow what follows it.
func TestSwitchesTakeNoArgument(t *testing.T) {
	for _, name := range []string{"pre-vote", "strict-reconfig-check", "initial-election-tick-advance", "enable-grpc-gateway", "enable-pprof", "memory-mlock",
		"socket-reuse-address", "experimental-initial-corrupt-check", "discovery-insecure-transport", "peer-skip-client-san-verification", "snapshot", "v", "force-new-cluster",
		"client-cert-auth", "peer-client-cert-auth", "auto-tls", "peer-auto-tls"} {
		c, err := parse("--"+name, "--data-dir", "X")
		require.NoError(t, err, name)
		require.Equal(t, "X", c.DataDir, name)
	}
	for _, name := range []string{"unsafe-no-fsync",
		"enable-distributed-tracing", "socket-reuse-port"} {
		_, err := parse("--"+name, "--data-dir", "X")
		require.ErrorContains(t, err, "--"+name+" is not supported: ")
		_, err = parse("--" + name + "=false")
		require.NoError(t, err, name)
		_, err = parse("--" + name + "=perhaps")
		require.ErrorContains(t, err, "invalid boolean value")
		_, err = check(nil, []string{variable(name) + "=true"})
		require.ErrorContains(t, err, variable(name)+" is not supported: ")
	}
}

// A command line that cannot be read is a UsageError, for which the program ends with 2. All others are for 1.
func TestWhatIsRefused(t *testing.T) {
	const advertise = "--advertise-client-urls=http://localhost:1"
	for _, c := range []struct {
		args  string
		usage bool
		want  string
	}{
		{"--nope", true, "flag provided but not defined: -nope"},
		{"--name", true, "flag needs an argument: -name"},
		{"stray", false, `"stray" is not a valid flag`},
		{"--pre-vote false", false, `"false" is not a valid flag`},
		{"--quota-backend-bytes=8GB", true, "a whole number is expected"},
		{"--quota-backend-bytes=9223372036854775808", true, "a whole number is expected"},
		{"--max-txn-ops=many", true, "a whole number is expected"},
		{"--max-concurrent-streams=-1", true, "a whole number from 0 to 4294967295 is expected"},
		{"--heartbeat-interval=100ms", true, "a whole number from 0 to 2147483647 is expected"},
		{"--grpc-keepalive-interval=5", true, "a duration such as 10m or 100ms is expected"},
		{"--warning-apply-duration=soon", true, "a duration such as 10m or 100ms is expected"},
		{"--snapshot-count=x", true, "a whole number is expected"},
		{"--initial-cluster-state=old", true, `unexpected clusterState "old"`},
		{"--feature-gates=Wings=true", true, "unrecognized feature gate: Wings"},
		{"--feature-gates=AllBeta=often", true, "true or false is expected"},
		{"--feature-gates=LeaseCheckpointPersist=true", true, "requires enabling feature gate LeaseCheckpoint"},
		{"--logger=capnslog", true, "--logger=capnslog is removed in v3.5"},
		{"--logger=glog", true, `unknown logger option "glog"`},
		{"--log-level=loud", false, `unrecognized level: "loud", supported values debug, info, warn, error, panic, fatal`},
		{"--log-format=xml", false, "unknown log format: xml, supported values json, console"},
		{"--log-outputs=default,stdout", false, `multi logoutput for "default" is not supported yet`},
		{"--enable-log-rotation", false, "--log-outputs requires a single file path when --log-rotate-config-json is defined"},
		{"--enable-log-rotation --log-outputs=stderr", false, "--log-outputs requires a single file path when"},
		{"--enable-log-rotation --log-outputs=systemd/journal", false, "--log-outputs requires a single file path when"},
		{"--enable-log-rotation --log-outputs=a,b", false, "--log-outputs requires a single file path when"},
		{"--enable-log-rotation --log-outputs=a --log-rotation-config-json={", false, "improperly formatted log rotation config: unexpected end of JSON input"},
		{"--enable-log-rotation --log-outputs=a --log-rotation-config-json=", false, "improperly formatted log rotation config: "},
		{"--enable-log-rotation --log-outputs=a --log-rotation-config-json={\"maxsize\":\"1\"}", false, "invalid log rotation config: json: cannot unmarshal string"},
		{"--enable-log-rotation --log-outputs=a --log-rotation-config-json={\"maxage\":-1}", false, "must not be negative"},
		{"--audit-log-level=loud", false, `--audit-log-level: unknown level "loud"`},
		{"--audit-log-max-backups=0", false, "--audit-log-max-backups must be >0 (set to 0)"},
		{"--log-outputs=systemd/journal,stdout", false, "systemd/journal but other '--log-outputs' values"},

		{"--listen-client-urls=localhost:2379", true, "URL scheme must be http, https, unix, or unixs"},
		{"--listen-client-urls=127.0.0.1:2379", true, "first path segment in URL cannot contain colon"},
		{"--listen-client-urls=http://127.0.0.1", true, `does not have the form "host:port"`},
		{"--listen-client-urls=http://127.0.0.1:", true, `does not have the form "host:port"`},
		{"--listen-client-urls=http://127.0.0.1:http", true, "invalid port"},
		{"--listen-client-urls=http://127.0.0.1:70000", true, "URL port must be at most 65535"},
		{"--listen-client-urls=http://127.0.0.1:1/v3", true, "URL must not contain a path"},
		{"--listen-client-urls=ftp://127.0.0.1:1", true, "URL scheme must be http, https, unix, or unixs"},
		{"--listen-client-urls=unix://", true, "no name of a socket"},
		{"--listen-client-urls=", true, "URL scheme must be http, https, unix, or unixs"},
		{"--listen-client-urls=http://127.0.0.1:1,", true, "URL scheme must be http, https, unix, or unixs"},
		{"--listen-client-urls=http://example.com:1 " + advertise, false, "expected IP in URL for binding (http://example.com:1)"},
		{"--listen-client-urls=http://:1 " + advertise, false, "expected IP in URL for binding (http://:1)"},
		{"--listen-peer-urls=http://example.com:1", false, "--listen-peer-urls: expected IP in URL for binding"},
		{"--listen-metrics-urls=http://example.com:1", false, "--listen-metrics-urls: expected IP in URL for binding"},
		{"--listen-client-urls=https://127.0.0.1:1 " + advertise, false, "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme"},
		{"--listen-client-urls=unixs://x --cert-file=c " + advertise, false, "must be provided for client url unixs://x"},
		{"--listen-peer-urls=https://127.0.0.1:1 --key-file=k --cert-file=c", false, "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url"},
		{"--listen-metrics-urls=https://127.0.0.1:1", false, "must be provided for metrics url"},
		{"--tls-min-version=TLS1.1", false, `unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3, or empty)`},
		{"--tls-max-version=3", false, `unexpected TLS version "3"`},
		{"--tls-min-version=TLS1.3 --tls-max-version=TLS1.2", false, "min version (TLS1.3) is greater than max version (TLS1.2)"},
		{"--tls-min-version=TLS1.3 --cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA", false, "cipher suites cannot be configured when only TLS1.3 is enabled"},
		{"--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,ROT13", false, `unexpected TLS cipher suite "ROT13"`},
		{"--auto-tls --self-signed-cert-validity=0", false, "--self-signed-cert-validity must be >0 (set to 0)"},
		{"--listen-client-urls=http://127.0.0.1:1", false, "--advertise-client-urls is required when --listen-client-urls is set explicitly"},
		{"--advertise-client-urls=http://:1", false, "--advertise-client-urls: unexpected empty host (http://:1)"},
		{"--initial-advertise-peer-urls=http://:1", false, "--initial-advertise-peer-urls: unexpected empty host (http://:1)"},
		{"--listen-client-http-urls=http://127.0.0.1:1", false, "--listen-client-http-urls is not supported: gRPC and HTTP share the client URLs"},

		{"--heartbeat-interval=0", false, "--heartbeat-interval must be >0 (set to 0ms)"},
		{"--election-timeout=0", false, "--election-timeout must be >0 (set to 0ms)"},
		{"--heartbeat-interval=201", false, "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[201ms]"},
		{"--election-timeout=50001", false, "--election-timeout[50001ms] is too long, and should be set less than 50000ms"},
		{"--max-txn-ops=0", false, "--max-txn-ops must be >0 (set to 0)"},
		{"--max-request-bytes=-1", false, "--max-request-bytes must be >0 (set to -1)"},
		{"--max-request-bytes=4294967296", false, "--max-request-bytes must be at most 1073741824"},
		{"--auto-compaction-mode=", false, "undefined auto-compaction-mode"},
		{"--auto-compaction-mode=daily", false, `unknown auto-compaction-mode "daily"`},
		{"--auto-compaction-retention=-1", false, "error parsing CompactionRetention"},
		{"--auto-compaction-retention=1d", false, "error parsing CompactionRetention"},
		{"--auto-compaction-mode=revision --auto-compaction-retention=1h", false, "error parsing CompactionRetention"},

		{"--discovery-token=t", false, "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-token=t --discovery-endpoints=a,,b", false, "--discovery-endpoints must not contain empty endpoints"},
		// D-30
		{"--discovery-srv=x.org --initial-cluster=default=http://localhost:2380", false, "multiple discovery or bootstrap flags are set. Choose one of"},
		{"--discovery-fallback=proxy", false, "--discovery-fallback=proxy is for --discovery"},
		{"--discovery-fallback=stay", true, "exit or proxy is expected"},
		{"--discovery-proxy=p:1", false, "--discovery-proxy is for --discovery, which is not set"},
		{"--cors=http://a,%", false, "Invalid CORS origin: %"}, // C-01
		{"--discovery=http://d/t --discovery-srv=x.org", false, "multiple discovery or bootstrap flags are set. Choose one of"},
		{"--proxy=maybe", true, `unexpected proxy mode "maybe": off, on or readonly is expected`},
		{"--proxy=on --proxy-refresh-interval=0", false, "--proxy-refresh-interval must be >0 (set to 0ms)"},
		{"--config-file=/does/not/exist", false, "no such file"},
	} {
		_, err := check(strings.Fields(c.args), nil)
		require.ErrorContains(t, err, c.want, c.args)
		var usage *UsageError
		require.Equal(t, c.usage, errors.As(err, &usage), "%s: %v", c.args, err)
		require.NotContains(t, err.Error(), "\n", c.args)
	}
}

func TestWhatIsTaken(t *testing.T) {
	for _, args := range []string{
		"--listen-client-urls=http://[::1]:1,http://0.0.0.0:2,http://localhost:3,unix:///tmp/x.sock --advertise-client-urls=http://example.com:1,unix:///tmp/x.sock",
		"--heartbeat-interval=200", "--election-timeout=50000", "--quota-backend-bytes=-1", "--quota-backend-bytes=8589934592",
		"--auto-compaction-retention=30m", "--auto-compaction-mode=revision --auto-compaction-retention=1000",
		"--log-level=DEBUG --log-format=console --log-outputs=stderr,stdout,/tmp/x", "--log-outputs=systemd/journal",
		"--feature-gates=LeaseCheckpoint=true,LeaseCheckpointPersist=true", "-name x -data-dir=y", "--listen-metrics-urls=",
		"--initial-cluster=a=http://localhost:1,b=http://localhost:2 --initial-cluster-state=existing", // matters at the first start only
	} {
		_, err := check(strings.Fields(args), nil)
		require.NoError(t, err, args)
	}
	c, err := parse("--listen-client-urls=http://localhost:1,http://localhost:2,http://localhost:1", "--watch-progress-notify-interval=1ms")
	require.NoError(t, err)
	require.Len(t, c.ListenClientURLs, 2, "what comes twice counts once")
	require.Error(t, c.Validate())
	c.given["advertise-client-urls"] = true
	require.NoError(t, c.Validate())
	require.Equal(t, 100*time.Millisecond, c.WatchProgressInterval)
}

// an answer to one who waits may take for ever. R-29: the port where clients look first.
func TestWaitsAreNotBounded(t *testing.T) {
	w := newWebServer(nil, slog.New(slog.DiscardHandler))
	require.Zero(t, w.ReadTimeout)
	require.Zero(t, w.WriteTimeout)
	c := DefaultConfig()
	require.Equal(t, []string{"http://localhost:2379"}, urlStrings(c.ListenClientURLs))
}

func TestHelpAndVersionAnywhere(t *testing.T) {
	for _, args := range []string{"--help", "-h", "-help", "--name x --help", "--pre-vote -h --nope"} {
		var out bytes.Buffer
		_, err := ParseArgs(strings.Fields(args), nil, &out)
		require.Equal(t, ErrHelp, err, args)
		require.Contains(t, out.String(), "--data-dir", args)
	}
	for _, args := range []string{"--version", "-version", "--name x --version", "--version --client-cert-auth --config-file=/nowhere", "--version=true"} {
		_, err := parse(strings.Fields(args)...)
		require.Equal(t, ErrVersion, err, args)
	}
	_, err := parse("--version=false")
	require.NoError(t, err)
}

func TestVariables(t *testing.T) {
	c, err := check(nil, []string{"ETCD_DATA_DIR=/d", "ETCD_NAME=", "ETCD_HEARTBEAT_INTERVAL=50", "ETCD_STRICT_RECONFIG_CHECK=true", "PATH=/bin",
		"ETCD_VERIFY=all", "ETCD_WINGS=2", "ETCDCTL_API=3", "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=7s"})
	require.NoError(t, err)
	require.Equal(t, "/d", c.DataDir)
	require.Equal(t, "default", c.Name, "an empty variable is none")
	require.Equal(t, 50*time.Millisecond, c.HeartbeatInterval)
	require.Equal(t, 7*time.Second, c.WatchProgressInterval)
	require.Equal(t, 2, strings.Count(c.said(), "WARN"), c.said())
	require.Contains(t, c.said(), "unrecognized environment variable [environment-variable ETCD_WINGS]")
	for env, want := range map[string]string{
		"ETCD_NAME=y":                        `conflicting environment variable "ETCD_NAME"`,
		"ETCD_MAX_TXN_OPS=x":                 `invalid value "x" for ETCD_MAX_TXN_OPS: a whole number is expected`,
		"ETCD_PRE_VOTE=2":                    "true or false is expected",
		"ETCD_INITIAL_CLUSTER_STATE=old":     "unexpected clusterState",
		"ETCD_LISTEN_CLIENT_URLS=http://x:1": "--advertise-client-urls is required",
		"ETCD_EXPERIMENTAL_MAX_LEARNERS=2":   "conflicting environment variable",
		"ETCD_UNSAFE_NO_FSYNC=true":          "ETCD_UNSAFE_NO_FSYNC is not supported",
		"ETCD_CONFIG_FILE=/does/not/exist":   "no such file",
	} {
		_, err := check([]string{"--name=x", "--max-learners=2"}, []string{env})
		require.Error(t, err, env)
		if strings.Contains(want, "advertise") {
			continue // which of two mistakes is told is of no matter
		}
		require.ErrorContains(t, err, want, env)
		var usage *UsageError
		require.False(t, errors.As(err, &usage), env)
	}
}

func TestFormerNames(t *testing.T) {
	c, err := parse("--experimental-watch-progress-notify-interval=1m", "--experimental-enable-lease-checkpoint=true", "--cluster-active-size=3")
	require.NoError(t, err)
	require.Equal(t, time.Minute, c.WatchProgressInterval)
	require.Contains(t, c.said(), "[given experimental-watch-progress-notify-interval name watch-progress-notify-interval]")
	require.Contains(t, c.said(), "name feature-gates=LeaseCheckpoint")
	require.Contains(t, c.said(), "flag is no longer supported - ignoring [flag-name cluster-active-size]")
	c, err = parse("--name=x")
	require.NoError(t, err)
	require.Empty(t, c.said())
}

func TestConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "cairn.yaml")
	read := func(text string, args ...string) (Config, error) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return check(append(args, "--config-file", file), []string{"ETCD_NAME=variable", "ETCD_WINGS=1"})
	}
	c, err := read(`
name: m1
data-dir: null
wal-dir:
heartbeat-interval: 50
pre-vote: false
quota-backend-bytes: 8e9
grpc-keepalive-interval: 60000000000
initial-cluster-state: ""
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
advertise-client-urls: http://127.0.0.1:1
log-outputs: [stderr, stdout]
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
client-transport-security: {client-cert-auth: true, cert-file: "", trusted-ca-file: ca.pem, allowed-cn: [x], client-cert-file: c.pem}
peer-transport-security: {cert-file: p.pem, key-file: k.pem, auto-tls: true, allowed-hostname: [a, b], skip-client-san-verification: true}
socket-options: {reuse-address: true}
wings: 2
`, "--name=flag", "--client-cert-auth", "--max-txn-ops=7")
	require.NoError(t, err)
	require.Equal(t, "m1", c.Name)
	require.Equal(t, "m1.etcd", c.DataDir)
	require.Empty(t, c.WALDir)
	require.Equal(t, 50*time.Millisecond, c.HeartbeatInterval)
	require.False(t, c.PreVote)
	require.EqualValues(t, 8e9, c.QuotaBackendBytes)
	require.Equal(t, time.Minute, c.KeepaliveInterval)
	require.Equal(t, "stderr,stdout", c.LogOutputs)
	require.Len(t, c.ListenClientURLs, 2)
	require.Equal(t, 128, c.MaxTxnOps, "flags are ignored beside a file")
	require.Equal(t, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", c.CipherSuites)
	require.Equal(t, TLSConfig{ClientCertAuth: true, TrustedCAFile: "ca.pem", AllowedCNs: "x", ClientCertFile: "c.pem"}, c.ClientTLS)
	require.Equal(t, TLSConfig{CertFile: "p.pem", KeyFile: "k.pem", AutoTLS: true, AllowedHostnames: "a,b", SkipClientSANVerification: true}, c.PeerTLS)
	require.Contains(t, c.said(), "scheme is http or unix while key and cert files are present")
	require.Contains(t, c.said(), "will be ignored if provided")
	require.Contains(t, c.said(), "unrecognized key in the configuration file [key wings]")
	require.NotContains(t, c.said(), "ETCD_WINGS")
	for text, want := range map[string]string{
		"grpc-keepalive-interval: 10m":                 "a duration is given in nanoseconds",
		"heartbeat-interval: fast":                     "a whole number from 0 to 2147483647 is expected",
		"pre-vote: perhaps":                            "true or false is expected",
		"name: {a: b}":                                 "name: a single value is expected",
		"- name":                                       "cannot unmarshal",
		"name: [":                                      "yaml: ",
		"name: a\nname: b":                             "already defined",
		"initial-cluster-state: old":                   `unexpected clusterState "old"`,
		"listen-client-urls: http://127.0.0.1:1":       "--advertise-client-urls is required",
		"client-transport-security: yes please":        "client-transport-security holds keys of its own",
		"discovery-config: {client: {endpoints: [a]}}": "both --discovery-token and --discovery-endpoints must be set",
		"socket-options: {reuse-port: true}":           "reuse-port is not supported",
		"log-level: loud":                              "unrecognized level",
	} {
		_, err := read(text)
		require.ErrorContains(t, err, want, text)
		var usage *UsageError
		require.False(t, errors.As(err, &usage), text)
	}
	c, err = read(`{"name": "json"}`)
	require.NoError(t, err)
	require.Equal(t, "json", c.Name)
	_, err = read("")
	require.NoError(t, err)
	c, err = ParseArgs(nil, []string{"ETCD_CONFIG_FILE=" + file, "ETCD_NAME=x"}, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, "default", c.Name)
}

func TestDiscoveryInAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "c.yaml")
	require.NoError(t, os.WriteFile(name, []byte(`
discovery-config:
  token: t
  client:
    endpoints: [http://a:1, http://b:2]
    request-timeout: 3000000000
    secure: {cacert: ca.pem, insecure-transport: false}
    auth: {username: u, password: p}
`), 0o600))
	c, err := ParseArgs([]string{"--config-file", name}, nil, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, DiscoveryConfig{Token: "t", Endpoints: "http://a:1,http://b:2", DialTimeout: 2 * time.Second, RequestTimeout: 3 * time.Second,
		KeepaliveTime: 2 * time.Second, KeepaliveWait: 6 * time.Second, CACert: "ca.pem", User: "u", Password: "p"}, c.Discovery)
}
