package ctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/grpclog"
)

// globals are the flags that every command takes.
type globals struct {
	endpoints        []string
	debug            bool
	writeOut         string
	hex              bool
	tableStyle       string
	strictEnv        bool
	dialTimeout      time.Duration
	commandTimeout   time.Duration
	keepAliveTime    time.Duration
	keepAliveTimeout time.Duration
	maxRequestBytes  int
	maxRecvBytes     int

	insecureTransport  bool
	insecureDiscovery  bool
	insecureSkipVerify bool
	cert, key, caCert  string
	jwtToken           string
	user, password     string
	discoverySRV       string
	discoverySRVName   string
}

const envPrefix = "ETCDCTL_"

func (a *app) addGlobalFlags(root *cobra.Command) {
	f, g := root.PersistentFlags(), &a.flags
	f.StringSliceVar(&g.endpoints, "endpoints", []string{"127.0.0.1:2379"}, "gRPC endpoints")
	f.BoolVar(&g.debug, "debug", false, "enable client-side debug logging")
	f.StringVarP(&g.writeOut, "write-out", "w", "simple", "set the output format (fields, json, protobuf, simple, table)")
	f.BoolVar(&g.hex, "hex", false, "print byte strings as hex encoded strings")
	f.StringVar(&g.tableStyle, "table-style", "unicode", "set the borders of tables (unicode, ascii)")
	f.BoolVar(&g.strictEnv, "strict-env", false, "fail when a variable and its flag are both given, instead of preferring the flag")
	f.DurationVar(&g.dialTimeout, "dial-timeout", 2*time.Second, "dial timeout for client connections")
	f.DurationVar(&g.commandTimeout, "command-timeout", 5*time.Second, "timeout for short running command (excluding dial timeout)")
	f.DurationVar(&g.keepAliveTime, "keepalive-time", 2*time.Second, "keepalive time for client connections")
	f.DurationVar(&g.keepAliveTimeout, "keepalive-timeout", 6*time.Second, "keepalive timeout for client connections")
	f.IntVar(&g.maxRequestBytes, "max-request-bytes", 0, "client-side request send limit in bytes (if 0, it defaults to 2.0 MiB (2 * 1024 * 1024).)")
	f.IntVar(&g.maxRecvBytes, "max-recv-bytes", 0, "client-side response receive limit in bytes (if 0, it defaults to \"math.MaxInt32\")")
	f.BoolVar(&g.insecureTransport, "insecure-transport", true, "disable transport security for client connections")
	f.BoolVar(&g.insecureDiscovery, "insecure-discovery", true, "accept insecure SRV records describing cluster endpoints")
	f.BoolVar(&g.insecureSkipVerify, "insecure-skip-tls-verify", false, "skip server certificate verification (CAUTION: this option should be enabled only for testing purposes)")
	f.StringVar(&g.cert, "cert", "", "identify secure client using this TLS certificate file")
	f.StringVar(&g.key, "key", "", "identify secure client using this TLS key file")
	f.StringVar(&g.caCert, "cacert", "", "verify certificates of TLS-enabled secure servers using this CA bundle")
	f.StringVar(&g.jwtToken, "auth-jwt-token", "", "JWT token used for authentication (if this option is used, --user and --password should not be set)")
	f.StringVar(&g.user, "user", "", "username[:password] for authentication (prompt if password is not supplied)")
	f.StringVar(&g.password, "password", "", "password for authentication (if this option is used, --user option shouldn't include password)")
	f.StringVarP(&g.discoverySRV, "discovery-srv", "d", "", "domain name to query for SRV records describing cluster endpoints")
	f.StringVar(&g.discoverySRVName, "discovery-srv-name", "", "service name to query when using DNS discovery")
	f.VisitAll(func(fl *pflag.Flag) { fl.Hidden = true }) // "options" lists them
	_ = root.RegisterFlagCompletionFunc("write-out", words("fields", "json", "protobuf", "simple", "table"))
	_ = root.RegisterFlagCompletionFunc("table-style", words("unicode", "ascii"))
}

// words completes a flag's value from a fixed list.
func words(list ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
}

// applyEnv sets the inherited flags that the command line left open from their
// ETCDCTL_ variables. An empty variable is an unset one. It runs once.
func (a *app) applyEnv(cmd *cobra.Command) error {
	if a.applied {
		return nil
	}
	a.applied = true
	known := map[string]bool{
		"ETCDCTL_API": true, "ETCDCTL_WATCH_KEY": true, "ETCDCTL_WATCH_RANGE_END": true,
	}
	var shadowed string
	var firstErr error
	fs := cmd.InheritedFlags()
	strict := a.flags.strictEnv || a.env("ETCDCTL_STRICT_ENV") == "true"
	fs.VisitAll(func(fl *pflag.Flag) {
		if fl.Name == "help" {
			return
		}
		name := envName(fl.Name)
		known[name] = true
		value := a.env(name)
		switch {
		case fl.Changed:
			if strict && a.isSet(name) && shadowed == "" {
				shadowed = name
			}
		case value != "":
			if err := fs.Set(fl.Name, value); err != nil && firstErr == nil {
				if cause := errors.Unwrap(err); cause != nil {
					err = cause // without a word about a flag nobody gave
				}
				firstErr = badArgs("invalid value %q of environment variable %s: %v", value, name, err)
			}
		}
	})
	if shadowed != "" {
		a.logLine("fatal", "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))", "environment-variable", shadowed)
		return silently(exitFailure)
	}
	for _, kv := range a.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) && !known[name] {
			a.logLine("warn", "unrecognized environment variable", "environment-variable", kv)
		}
	}
	return firstErr
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (a *app) isSet(name string) bool {
	return slices.ContainsFunc(a.Environ, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
}

// logLine writes one JSON line to stderr.
func (a *app) logLine(level, msg string, kv ...any) {
	line := fmt.Appendf(nil, `{"level":%q,"ts":%q,"msg":%s`, level,
		time.Now().UTC().Format("2006-01-02T15:04:05.000000Z0700"), mustJSON(msg))
	for i := 0; i+1 < len(kv); i += 2 {
		line = fmt.Appendf(line, ",%s:%s", mustJSON(kv[i]), mustJSON(kv[i+1]))
	}
	_, _ = a.Stderr.Write(append(line, "}\n"...))
}

// debugLine is logLine under --debug.
func (a *app) debugLine(msg string, kv ...any) {
	if a.flags.debug {
		a.logLine("info", msg, kv...)
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte(`"?"`)
	}
	return b
}

// startDebug tells the settings and lets gRPC talk, under --debug.
func (a *app) startDebug(cmd *cobra.Command) {
	if !a.flags.debug {
		return
	}
	a.tellSettings(cmd)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2WithVerbosity(a.Stderr, a.Stderr, a.Stderr, 4))
}

// tellSettings writes every global setting to stderr, sorted, secrets masked.
func (a *app) tellSettings(cmd *cobra.Command) {
	cmd.InheritedFlags().VisitAll(func(fl *pflag.Flag) {
		value := fl.Value.String()
		if value != "" && slices.Contains([]string{"user", "password", "auth-jwt-token"}, fl.Name) {
			value = "***" // logs travel further than secrets should
		}
		fmt.Fprintf(a.Stderr, "%s=%s\n", envName(fl.Name), value)
	})
}
