package peer

import (
	"net/url"
	"slices"
	"sync"
)

// addresses are where a peer may listen. One is used until it fails, then the next.
type addresses struct {
	mu      sync.Mutex
	urls    []*url.URL
	at      int
	refused []bool // since the peer was last heard of, by address
}

// set replaces the addresses and reports whether they are others than before.
func (a *addresses) set(urls []*url.URL) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if slices.EqualFunc(a.urls, urls, func(x, y *url.URL) bool { return *x == *y }) {
		return false
	}
	a.urls, a.at, a.refused = urls, 0, make([]bool, len(urls))
	return true
}

// pick returns the address to use, nil if there is none.
func (a *addresses) pick() *url.URL {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.urls) == 0 {
		return nil
	}
	return a.urls[a.at]
}

// failed moves on from an address. With refused, nobody listened there; it reports whether the same is known of all
// addresses.
func (a *addresses) failed(u *url.URL, refused bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := slices.Index(a.urls, u)
	if at < 0 {
		return false
	}
	if at == a.at {
		a.at = (a.at + 1) % len(a.urls)
	}
	a.refused[at] = refused
	return !slices.Contains(a.refused, false)
}

// alive forgets refusals: the peer was heard of.
func (a *addresses) alive() {
	a.mu.Lock()
	clear(a.refused)
	a.mu.Unlock()
}

func (a *addresses) list() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]string, len(a.urls))
	for i, u := range a.urls {
		out[i] = u.String()
	}
	return out
}
