// Package peerurl says whether texts are URLs that a member may have for its peers: the same words wherever they are
// refused, by a server or before it is asked.
//
// It must never know who asks, and never resolve or dial anything.
package peerurl

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// Check refuses URLs that name no address. A list of none is refused, too.
func Check(urls []string) error {
	_, err := Clean(urls)
	return err
}

// Clean returns URLs in order and in the form in which they are compared, if Check has nothing against them.
func Clean(urls []string) ([]string, error) {
	if len(urls) == 0 {
		return nil, errors.New("no valid URLs given")
	}
	var out []string
	for _, s := range urls {
		s = strings.TrimSpace(s)
		u, err := url.Parse(s)
		if err != nil {
			return nil, err
		}
		switch u.Scheme {
		case "http", "https":
			if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
				return nil, fmt.Errorf(`URL address does not have the form "host:port": %s`, s)
			}
			if u.Path != "" {
				return nil, fmt.Errorf("URL must not contain a path: %s", s)
			}
		case "unix", "unixs":
		default:
			return nil, fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", s)
		}
		out = append(out, u.String())
	}
	slices.Sort(out)
	return out, nil
}
