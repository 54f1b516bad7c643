package cairn

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseURLs reads a comma list of URLs; what comes twice counts once.
func parseURLs(s string) ([]url.URL, error) {
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
			if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
				return nil, fmt.Errorf("URL address does not have the form \"host:port\": %s", part)
			} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
				return nil, fmt.Errorf("URL port must be at most 65535: %s", part)
			}
		case "unix", "unixs":
			if u.Host+u.Path == "" {
				return nil, fmt.Errorf("URL has no name of a socket: %s", part)
			}
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

func isSecure(u url.URL) bool { return u.Scheme == "https" || u.Scheme == "unixs" }

func isTCP(u url.URL) bool { return u.Scheme == "http" || u.Scheme == "https" }

// checkListen refuses what cannot be bound, or would be bound otherwise than its URL says.
func checkListen(flag string, us []url.URL) error {
	for _, u := range us {
		if host := u.Hostname(); isTCP(u) && host != "localhost" && net.ParseIP(host) == nil {
			return fmt.Errorf("--%s: expected IP in URL for binding (%s)", flag, u.String())
		}
	}
	return nil
}

// checkAdvertise refuses what no client could dial.
func checkAdvertise(flag string, us []url.URL) error {
	for _, u := range us {
		if isTCP(u) && u.Hostname() == "" {
			return fmt.Errorf("--%s: unexpected empty host (%s)", flag, u.String())
		}
	}
	return nil
}
