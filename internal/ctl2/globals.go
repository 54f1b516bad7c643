package ctl2

import (
	"flag"
	"time"
)

// globals are the options before the command.
type globals struct {
	debug, noSync, insecureDiscovery bool
	output                           string
	discoverySRV                     string
	endpoints, endpoint, peers       string
	cert, key, ca                    string
	username                         string
	timeout, totalTimeout            time.Duration
}

const (
	simple   = "simple"
	extended = "extended"
	inJSON   = "json"
)

// defaultEndpoints are where a server listens, and where one of old did.
const defaultEndpoints = "http://127.0.0.1:2379,http://127.0.0.1:4001"

// options are in the order of the help.
func (g *globals) options() []option {
	output := text(&g.output, "output response in the given format (simple, `extended` or `json`)", "output", "o")
	output.value, output.standard = simple, `"simple"`
	output.define = func(fs *flag.FlagSet, n string) { fs.StringVar(&g.output, n, simple, "") }
	return []option{
		toggle(&g.debug, "output cURL commands which can be used to reproduce the request", "debug"),
		toggle(&g.noSync, "don't synchronize cluster information before sending request", "no-sync"),
		output,
		text(&g.discoverySRV, "domain name to query for SRV records describing cluster endpoints", "discovery-srv", "D"),
		toggle(&g.insecureDiscovery, "accept insecure SRV records describing cluster endpoints", "insecure-discovery"),
		text(&g.peers, `DEPRECATED - "--endpoints" should be used instead`, "peers", "C"),
		text(&g.endpoint, `DEPRECATED - "--endpoints" should be used instead`, "endpoint"),
		text(&g.endpoints, `a comma-delimited list of machine addresses in the cluster (default: "`+defaultEndpoints+`")`, "endpoints"),
		text(&g.cert, "identify HTTPS client using this SSL certificate file", "cert-file"),
		text(&g.key, "identify HTTPS client using this SSL key file", "key-file"),
		text(&g.ca, "verify certificates of HTTPS-enabled servers using this CA bundle", "ca-file"),
		text(&g.username, "provide username[:password] and prompt if password is not supplied.", "username", "u"),
		duration(&g.timeout, 2*time.Second, "connection timeout per request", "timeout"),
		duration(&g.totalTimeout, 5*time.Second, "timeout for the command execution (except watch)", "total-timeout"),
	}
}

// check refuses what no command can do with.
func (g *globals) check() error {
	if g.timeout < 0 || g.totalTimeout < 0 {
		return refuse("--timeout and --total-timeout must not be negative")
	}
	return nil
}
