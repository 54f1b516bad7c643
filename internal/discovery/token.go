package discovery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// More errors, of a discovery URL.
var (
	ErrDuplicateName = errors.New("discovery: found duplicate name")
	ErrBadEndpoint   = errors.New("discovery: bad discovery endpoint")
	ErrInvalidURL    = errors.New("discovery: invalid URL")
)

const (
	requestWithin = 10 * time.Second
	waitWithin    = time.Minute // for one change, before servers end waits by themselves; then the members are read again
	mostAnswer    = 4 << 20     // bytes
	mostDoublings = 8           // of the time between two attempts
)

// Error codes of the v2 API.
const (
	codeKeyNotFound = 100
	codeNodeExist   = 105
	codeRaft        = 300 // and above: the cluster cannot answer now
	codeCleared     = 401
)

// Token is a discovery URL: a directory in the v2 key space of another cluster, where members register until there are
// enough (v2-http.md section 17).
type Token struct {
	URL    string
	Proxy  string // that the requests go through; "" for none
	Logger *slog.Logger
	// Pause waits before the attempt after the nth; nil is for 2^n seconds, at most 256.
	Pause func(ctx context.Context, n int) error
}

// Join registers a member, with its name and URLs in the form name=url,..., and waits until the cluster is complete. It
// returns the first members in the form of --initial-cluster.
func (t *Token) Join(ctx context.Context, id cluster.ID, urls string) (string, error) {
	return t.run(ctx, &registering{Token: t, id: id.String(), urls: urls})
}

// Members waits until the cluster is complete, and registers nobody.
func (t *Token) Members(ctx context.Context) (string, error) {
	return t.run(ctx, &registering{Token: t})
}

func (t *Token) run(ctx context.Context, r *registering) (string, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("discovery: %q is no URL of a token: http://HOST:PORT/v2/keys/PATH is expected", t.URL)
	}
	r.base = strings.TrimSuffix(t.URL, "/")
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	if t.Proxy != "" {
		proxy := t.Proxy
		if !strings.Contains(proxy, "://") {
			proxy = "http://" + proxy
		}
		through, err := url.Parse(proxy)
		if err != nil {
			return "", fmt.Errorf("discovery: proxy %q is no URL: %w", t.Proxy, err)
		}
		transport.Proxy = http.ProxyURL(through)
	}
	r.http = &http.Client{Transport: transport}
	pause := t.Pause
	if pause == nil {
		pause = doubling
	}
	for n := 1; ; n++ {
		s, err := r.try(ctx)
		var again *transientError
		if !errors.As(err, &again) || ctx.Err() != nil {
			return s, err
		}
		t.Logger.Warn("discovery: the service does not answer; trying again", "url", t.URL, "error", err.Error())
		if err := pause(ctx, n); err != nil {
			return "", err
		}
	}
}

func doubling(ctx context.Context, n int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second << min(n, mostDoublings)):
		return nil
	}
}

// transientError says that trying again may help.
type transientError struct{ error }

func (e *transientError) Unwrap() error { return e.error }

// registering is one member that registers, or nobody who only reads.
type registering struct {
	*Token
	http *http.Client
	base string
	id   string // "" for nobody
	urls string
	mine bool // it has registered
}

func (r *registering) try(ctx context.Context) (string, error) {
	size, err := r.size(ctx)
	if err != nil {
		return "", err
	}
	members, _, err := r.members(ctx)
	if err != nil {
		return "", err
	}
	if r.id != "" {
		if err := r.register(ctx, members, size); err != nil {
			return "", err
		}
	}
	for {
		members, index, err := r.members(ctx)
		if err != nil {
			return "", err
		}
		if r.id != "" {
			at := slices.IndexFunc(members, r.own)
			if at < 0 || at >= size {
				return "", ErrFull
			}
		}
		if len(members) >= size {
			return joined(members[:size])
		}
		r.Logger.Info("discovery: waiting for other members", "found", len(members), "needed", size-len(members))
		if err := r.await(ctx, "", index+1); err != nil {
			return "", err
		}
	}
}

func (r *registering) own(n node) bool { return n.name() == r.id }

// register adds this member, and waits until the server that is asked has it.
func (r *registering) register(ctx context.Context, members []node, size int) error {
	if r.mine {
		return nil
	}
	switch known := slices.ContainsFunc(members, r.own); {
	case known:
		return fmt.Errorf("%w: member %s has registered before, and its data is gone", ErrDuplicate, r.id)
	case len(members) >= size:
		return ErrFull
	}
	body := url.Values{"value": {r.urls}}.Encode()
	a, err := r.request(ctx, http.MethodPut, "/"+r.id+"?prevExist=false", body, requestWithin)
	switch {
	case err != nil:
		return err
	case a.ErrorCode == codeNodeExist:
		return fmt.Errorf("%w: member %s has registered before", ErrDuplicate, r.id)
	case a.ErrorCode != 0:
		return a.err()
	}
	r.mine = true
	return r.await(ctx, "/"+r.id, a.Node.CreatedIndex)
}

// size is how many members the cluster is to have.
func (r *registering) size(ctx context.Context) (int, error) {
	a, err := r.request(ctx, http.MethodGet, "/_config/size", "", requestWithin)
	switch {
	case err != nil:
		return 0, err
	case a.ErrorCode == codeKeyNotFound:
		return 0, ErrSizeNotFound
	case a.ErrorCode != 0:
		return 0, a.err()
	}
	n, err := strconv.ParseUint(a.Node.Value, 10, 32)
	if err != nil || n == 0 || n > mostMembers {
		return 0, fmt.Errorf("%w: %q", ErrBadSize, a.Node.Value)
	}
	return int(n), nil
}

// members are those that have registered, in the order in which they did, and the index at which that is so.
func (r *registering) members(ctx context.Context) ([]node, uint64, error) {
	a, err := r.request(ctx, http.MethodGet, "", "", requestWithin)
	if err != nil {
		return nil, 0, err
	}
	if a.ErrorCode != 0 {
		return nil, 0, a.err()
	}
	out := slices.DeleteFunc(a.Node.Nodes, func(n node) bool { return n.name() == "_config" })
	slices.SortFunc(out, func(a, b node) int { return cmp.Compare(a.CreatedIndex, b.CreatedIndex) })
	return out, a.index, nil
}

// await waits for a change at or after the index. There may also have been none when it returns.
func (r *registering) await(ctx context.Context, path string, index uint64) error {
	a, err := r.request(ctx, http.MethodGet, fmt.Sprintf("%s?recursive=true&wait=true&waitIndex=%d", path, index), "", waitWithin)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return nil // no change for a while
	case err != nil:
		return err
	case a.ErrorCode != 0 && a.ErrorCode != codeCleared:
		return a.err()
	}
	return nil
}

// joined is what members have registered, as one list.
func joined(members []node) (string, error) {
	var parts []string
	names := map[string]bool{}
	for _, m := range members {
		first := ""
		for _, pair := range strings.FieldsFunc(m.Value, func(c rune) bool { return c == ',' || c == '&' }) {
			name, u, ok := strings.Cut(pair, "=")
			parsed, err := url.Parse(u)
			if !ok || name == "" || err != nil || parsed.Host == "" {
				return "", fmt.Errorf("%w: member %s has registered as %q", ErrInvalidURL, m.name(), m.Value)
			}
			first = name
			parts = append(parts, pair)
		}
		switch {
		case first == "":
			return "", fmt.Errorf("%w: member %s has registered as %q", ErrInvalidURL, m.name(), m.Value)
		case names[first]:
			return "", fmt.Errorf("%w: %q", ErrDuplicateName, first)
		}
		names[first] = true
	}
	return strings.Join(parts, ","), nil
}

// node is a node of the v2 API.
type node struct {
	Key          string `json:"key"`
	Value        string `json:"value"`
	Nodes        []node `json:"nodes"`
	CreatedIndex uint64 `json:"createdIndex"`
}

func (n node) name() string { return n.Key[strings.LastIndexByte(n.Key, '/')+1:] }

// answer is a success with a node, or an error of the v2 API.
type answer struct {
	Node      *node  `json:"node"`
	ErrorCode int    `json:"errorCode"`
	Message   string `json:"message"`
	Cause     string `json:"cause"`
	index     uint64
}

func (a *answer) err() error {
	err := fmt.Errorf("discovery: the service answers %d: %s (%s)", a.ErrorCode, a.Message, a.Cause)
	if a.ErrorCode >= codeRaft {
		return &transientError{err}
	}
	return err
}

// request asks the service. Its answer has a node or an error code.
func (r *registering) request(ctx context.Context, method, path, body string, within time.Duration) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, r.base+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := r.http.Do(q)
	if err != nil {
		return nil, &transientError{fmt.Errorf("discovery: %w", err)}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer))
	switch {
	case err != nil:
		return nil, &transientError{fmt.Errorf("discovery: %w", err)}
	case len(b) == 0 && resp.StatusCode < http.StatusBadRequest:
		return nil, &transientError{fmt.Errorf("discovery: an empty answer: %w", io.ErrUnexpectedEOF)}
	}
	a := &answer{}
	if err := json.Unmarshal(b, a); err != nil || a.Node == nil && a.ErrorCode == 0 {
		if resp.StatusCode >= http.StatusInternalServerError {
			return nil, &transientError{fmt.Errorf("discovery: the service answers %s", resp.Status)}
		}
		return nil, fmt.Errorf("%w: %s answers %s, and nothing of the v2 API", ErrBadEndpoint, r.base, resp.Status)
	}
	a.index, _ = strconv.ParseUint(resp.Header.Get("X-Etcd-Index"), 10, 64)
	return a, nil
}
