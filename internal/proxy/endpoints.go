package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	askWithin = 10 * time.Second // for one peer
	// soon is when to ask again while nobody is known; only for intervals that are longer than hurried.
	soon    = time.Second
	hurried = 30 * time.Second
)

// endpoint is a member's client URL. It is out for a while after a failure.
type endpoint struct {
	url  *url.URL
	back time.Time // when it may be tried again; zero for now
}

// endpoints are those that are known, in the order of their turn.
type endpoints struct {
	cfg   Config
	mu    sync.Mutex
	peers []string
	list  []*endpoint
}

// known is the file of peers.
type known struct{ PeerURLs []string }

// Known reads the peers of a proxy that has run before; none if there is no file.
func Known(file string) ([]string, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var k known
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("proxy: %s is no file of peers: %w", file, err)
	}
	return k.PeerURLs, nil
}

func newEndpoints(cfg Config) (*endpoints, error) {
	peers, err := Known(cfg.File)
	if err != nil {
		return nil, err
	}
	if len(peers) == 0 {
		peers = cfg.Peers
	}
	if len(peers) == 0 {
		return nil, errors.New("proxy: no peer URLs to ask for the members")
	}
	return &endpoints{cfg: cfg, peers: peers}, nil
}

// available are the endpoints to try, in order.
func (e *endpoints) available() (out []*endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	for _, x := range e.list {
		if !x.back.After(now) {
			out = append(out, x)
		}
	}
	return out
}

func (e *endpoints) failed(x *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.back = time.Now().Add(e.cfg.FailureWait)
}

// follow refreshes the list until the context ends.
func (e *endpoints) follow(ctx context.Context) {
	for {
		wait := e.cfg.RefreshInterval
		if wait >= hurried && len(e.available()) == 0 {
			wait = soon
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		e.refresh(ctx)
	}
}

// refresh asks one peer after the other until one answers. Nobody stays out, and the order is another one: the load of many
// proxies is spread.
func (e *endpoints) refresh(ctx context.Context) {
	clients, peers, err := e.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		e.cfg.Logger.Warn("failed to ask for the members", "error", err.Error())
	}
	var list []*endpoint
	for _, c := range clients {
		u, err := url.Parse(c)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			e.cfg.Logger.Warn("a member's client URL cannot be forwarded to", "url", c)
		case slices.Contains(e.cfg.Own, u.Scheme+"://"+u.Host):
			e.cfg.Logger.Error("a member's client URL is one that this proxy listens on; it is left out, as requests would go round for ever", "url", c)
		default:
			list = append(list, &endpoint{url: u})
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	e.mu.Lock()
	e.list = list
	if len(peers) > 0 {
		e.peers = peers
	}
	e.mu.Unlock()
	if len(peers) > 0 {
		if err := e.keep(peers); err != nil {
			e.cfg.Logger.Warn("failed to keep the peers", "file", e.cfg.File, "error", err.Error())
		}
	}
}

func (e *endpoints) ask(ctx context.Context) (clients, peers []string, err error) {
	e.mu.Lock()
	ask := slices.Clone(e.peers)
	e.mu.Unlock()
	for _, p := range ask {
		within, cancel := context.WithTimeout(ctx, askWithin)
		c, ps, failure := e.cfg.Ask(within, p)
		cancel()
		if failure == nil {
			return slices.Compact(slices.Sorted(slices.Values(c))), slices.Compact(slices.Sorted(slices.Values(ps))), nil
		}
		err = errors.Join(err, fmt.Errorf("%s: %w", p, failure))
	}
	return nil, nil, err
}

// keep writes the file of peers: either the old one is there, or the new one whole.
func (e *endpoints) keep(peers []string) error {
	b, err := json.Marshal(known{peers})
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(e.cfg.File); err == nil && string(old) == string(b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(e.cfg.File), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(e.cfg.File), "cluster.*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), e.cfg.File)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
