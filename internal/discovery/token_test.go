package discovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// keys answers as the v2 key space of another cluster does, as far as a token needs it.
type keys struct {
	mu      sync.Mutex
	size    string
	members []string // JSON of nodes
	index   int
	changed chan struct{}
	down    int // requests that are answered by an error first
	seen    []string
}

func (k *keys) add(name, value string) {
	k.index++
	k.members = append(k.members, fmt.Sprintf(`{"key":"/t/%s","value":%q,"createdIndex":%d}`, name, value, k.index))
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *keys) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seen = append(k.seen, r.Method+" "+r.URL.RequestURI())
	w.Header().Set("X-Etcd-Index", fmt.Sprint(k.index))
	refuse := func(status, code int) {
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"errorCode":%d,"message":"m","cause":"c","index":1}`, code)
	}
	name := strings.TrimPrefix(r.URL.Path, "/v2/keys/t")
	switch {
	case k.down > 0:
		k.down--
		refuse(http.StatusInternalServerError, 300)
	case name == "/_config/size" && k.size == "":
		refuse(http.StatusNotFound, 100)
	case name == "/_config/size":
		_, _ = fmt.Fprintf(w, `{"action":"get","node":{"key":"/t/_config/size","value":%q}}`, k.size)
	case r.Method == http.MethodPut:
		if slices.ContainsFunc(k.members, func(m string) bool { return strings.Contains(m, `"/t`+name+`"`) }) {
			refuse(http.StatusPreconditionFailed, 105)
			return
		}
		k.add(name[1:], r.FormValue("value"))
		_, _ = fmt.Fprintf(w, `{"action":"create","node":%s}`, k.members[len(k.members)-1])
	case r.FormValue("wait") == "true":
		var from int
		_, _ = fmt.Sscan(r.FormValue("waitIndex"), &from)
		for from > k.index {
			changed := k.changed
			k.mu.Unlock()
			select {
			case <-changed:
			case <-r.Context().Done():
			}
			k.mu.Lock()
			if r.Context().Err() != nil {
				return
			}
		}
		_, _ = fmt.Fprintf(w, `{"action":"create","node":%s}`, k.members[len(k.members)-1])
	default:
		listed := append(slices.Clone(k.members), `{"key":"/t/_config","dir":true}`)
		slices.Reverse(listed) // the order is not to be relied on
		_, _ = fmt.Fprintf(w, `{"action":"get","node":{"key":"/t","dir":true,"nodes":[%s]}}`, strings.Join(listed, ","))
	}
}

func newKeys(t *testing.T, size string, members ...string) (*keys, *Token) {
	k := &keys{size: size, changed: make(chan struct{})}
	for _, m := range members {
		name, value, _ := strings.Cut(m, " ")
		k.add(name, value)
	}
	s := httptest.NewServer(k)
	t.Cleanup(s.Close)
	return k, &Token{URL: s.URL + "/v2/keys/t", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Pause: func(context.Context, int) error { return nil }}
}

// TestTokenJoin covers D-02, D-03, D-05, D-06, D-07, D-08 and D-09: three register at the same time, and all learn the same.
func TestTokenJoin(t *testing.T) {
	k, token := newKeys(t, "3")
	k.down = 2 // D-27
	got := make(chan string)
	for i := range 3 {
		go func() {
			s, err := token.Join(context.Background(), cluster.ID(i+1), fmt.Sprintf("m%d=http://h%d:1,m%d=http://h%d:2", i, i, i, i))
			if err != nil {
				s = err.Error()
			}
			got <- s
		}()
	}
	first := <-got
	require.ElementsMatch(t, []string{"m0=http://h0:1", "m0=http://h0:2", "m1=http://h1:1", "m1=http://h1:2", "m2=http://h2:1", "m2=http://h2:2"}, strings.Split(first, ","))
	require.Equal(t, first, <-got)
	require.Equal(t, first, <-got)
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Contains(t, k.seen, "PUT /v2/keys/t/2?prevExist=false")
	require.True(t, slices.ContainsFunc(k.seen, func(s string) bool {
		return strings.HasPrefix(s, "GET /v2/keys/t/2?recursive=true&wait=true&waitIndex=")
	}), k.seen)
}

// TestTokenErrors covers D-04, D-10, D-20, D-21, D-22, D-23, D-24, D-25 and D-26.
func TestTokenErrors(t *testing.T) {
	for _, c := range []struct {
		size    string
		members []string
		join    error
		read    any // an error, or the text
	}{
		{"", nil, ErrSizeNotFound, ErrSizeNotFound},
		{"many", nil, ErrBadSize, ErrBadSize},
		{"-1", nil, ErrBadSize, ErrBadSize},
		{"0", nil, ErrBadSize, ErrBadSize},
		{"1", []string{"9 a=http://a:1"}, ErrFull, "a=http://a:1"},
		{"1", []string{"9 a=http://a:1", "8 b=http://b:1"}, ErrFull, "a=http://a:1"},
		{"1", []string{"9 a=http://a:1&a=http://a:2"}, ErrFull, "a=http://a:1,a=http://a:2"},
		{"2", []string{"7 a=http://a:1", "8 a=http://b:1"}, ErrFull, ErrDuplicateName},
		{"2", []string{"7 me=http://a:1"}, ErrDuplicateName, nil},
		{"2", []string{"5 a=http://a:1"}, ErrDuplicate, nil},
		{"1", []string{"7 nonsense"}, ErrFull, ErrInvalidURL},
		{"1", []string{"7 "}, ErrFull, ErrInvalidURL},
		{"1", []string{"7 a=%zz"}, ErrFull, ErrInvalidURL},
	} {
		_, token := newKeys(t, c.size, c.members...)
		_, err := token.Join(context.Background(), 5, "me=http://me:1")
		require.ErrorIs(t, err, c.join, c.members)
		_, token = newKeys(t, c.size, c.members...)
		switch want := c.read.(type) {
		case error:
			_, err = token.Members(context.Background())
			require.ErrorIs(t, err, want, c.members)
		case string:
			s, err := token.Members(context.Background())
			require.NoError(t, err)
			require.Equal(t, want, s)
		}
	}
}

// TestTokenEndpoints covers D-25, D-27 and D-31.
func TestTokenEndpoints(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer page.Close()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	_, err := (&Token{URL: page.URL, Logger: quiet}).Members(context.Background())
	require.ErrorIs(t, err, ErrBadEndpoint)
	for _, u := range []string{"", "ftp://x/y", "http://", "://", "token"} {
		_, err = (&Token{URL: u, Logger: quiet}).Members(context.Background())
		require.ErrorContains(t, err, "is no URL of a token", u)
	}

	stop := errors.New("stop")
	var waits []int
	nobody := &Token{URL: "http://127.0.0.1:1/t", Logger: quiet, Pause: func(_ context.Context, n int) error {
		waits = append(waits, n)
		if n == 3 {
			return stop
		}
		return nil
	}}
	_, err = nobody.Members(context.Background())
	require.ErrorIs(t, err, stop)
	require.Equal(t, []int{1, 2, 3}, waits)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, doubling(ctx, 1), context.Canceled)

	_, token := newKeys(t, "1", "9 a=http://a:1")
	through := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "nowhere.invalid", r.URL.Host)
		u := strings.TrimSuffix(token.URL, "/v2/keys/t") + r.URL.RequestURI()
		resp, err := http.Get(u)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}))
	defer through.Close()
	far := &Token{URL: "http://nowhere.invalid/v2/keys/t", Proxy: strings.TrimPrefix(through.URL, "http://"), Logger: quiet}
	s, err := far.Members(context.Background())
	require.NoError(t, err)
	require.Equal(t, "a=http://a:1", s)
}
