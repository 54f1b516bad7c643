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
	"strings"
)

// Check refuses URLs that name no address. A list of none is refused, too.
func Check(urls []string) error {
	if len(urls) == 0 {
		return errors.New("no valid URLs given")
	}
	for _, s := range urls {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil {
			return err
		}
		switch u.Scheme {
		case "http", "https":
			if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
				return fmt.Errorf(`URL address does not have the form "host:port": %s`, s)
			}
			if u.Path != "" {
				return fmt.Errorf("URL must not contain a path: %s", s)
			}
		case "unix", "unixs":
		default:
			return fmt.Errorf("URL scheme must be http, https, unix, or unixs: %s", s)
		}
	}
	return nil
}
