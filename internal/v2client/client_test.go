package v2client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// limit bounds every wait of these tests; it is only reached by failures.
const limit = 10 * time.Second

// answers serves fixed answers and notes what was asked.
type answers struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	queue []answer
}

type answer struct {
	status int
	header string // "Name: value"
	body   string
	late   time.Duration
}

func serve(t *testing.T, queue ...answer) *answers {
	a := &answers{queue: queue}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		a.mu.Lock()
		note := r.Method + " " + r.URL.RequestURI()
		if len(body) > 0 {
			note += " " + string(body)
		}
		if user, pw, ok := r.BasicAuth(); ok {
			note += " as " + user + ":" + pw
		}
		a.asked = append(a.asked, note)
		next := answer{status: 500}
		if len(a.queue) > 0 {
			next = a.queue[0]
			if len(a.queue) > 1 {
				a.queue = a.queue[1:]
			}
		}
		a.mu.Unlock()
		select {
		case <-time.After(next.late):
		case <-r.Context().Done():
			return
		}
		if name, value, ok := strings.Cut(next.header, ": "); ok {
			w.Header().Set(name, value)
		}
		w.WriteHeader(next.status)
		_, _ = io.WriteString(w, next.body)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *answers) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}

func connect(t *testing.T, cfg Config, endpoints ...string) *Client {
	t.Helper()
	cfg.Endpoints = endpoints
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// closedPort is an endpoint where nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

const (
	fine   = `{"action":"set","node":{"key":"/k","value":"v","modifiedIndex":4,"createdIndex":4}}`
	noLead = `{"errorCode":300,"message":"Raft Internal Error","cause":"etcdserver: no leader","index":0}`
)

func TestEndpoints(t *testing.T) {
	_, err := New(Config{})
	require.ErrorIs(t, err, ErrNoEndpoints)
	c := connect(t, Config{}, "127.0.0.1:2379") // G-41
	require.Equal(t, []string{"http://127.0.0.1:2379"}, c.Endpoints())
	_, err = New(Config{Endpoints: []string{"http://%zz"}})
	require.EqualError(t, err, `parse "http://%zz": invalid URL escape "%zz"`)
	_, err = New(Config{Endpoints: []string{"http://"}})
	require.ErrorContains(t, err, "no host")
	first := map[string]bool{}
	for range 200 {
		first[connect(t, Config{}, "http://a:1", "http://b:1").Endpoints()[0]] = true
	}
	require.Len(t, first, 2, "G-53: the order is random")
}

// G-53: the next endpoint is asked after a connection error or a 5xx answer, and it stays the first one.
func TestTheNextEndpointIsAsked(t *testing.T) {
	for name, bad := range map[string]string{
		"refused":   closedPort(t),
		"no leader": serve(t, answer{status: 500, body: noLead}).URL,
		"proxy":     serve(t, answer{status: 502}).URL,
	} {
		t.Run(name, func(t *testing.T) {
			good := serve(t, answer{status: 200, body: fine})
			for range 10 {
				c := connect(t, Config{}, bad, good.URL)
				res, err := c.Get(within(t), "k", GetOptions{})
				require.NoError(t, err)
				require.Equal(t, "v", res.Node.Value)
				c.mu.Lock()
				require.Equal(t, good.URL, c.endpoints[c.first].String())
				c.mu.Unlock()
			}
		})
	}
}

// G-53: what must not happen twice is not repeated once it may have arrived, but a refused connection is passed over.
func TestRequestsThatAreSentOnce(t *testing.T) {
	for name, call := range map[string]func(*Client) error{
		"create": func(c *Client) error {
			_, err := c.Set(within(t), "k", "v", SetOptions{PrevExist: Absent})
			return err
		},
		"in order": func(c *Client) error { _, err := c.CreateInOrder(within(t), "k", "v", 0); return err },
		"delete":   func(c *Client) error { _, err := c.Delete(within(t), "k", DeleteOptions{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			one, two := serve(t, answer{status: 500, body: noLead}), serve(t, answer{status: 500, body: noLead})
			err := call(connect(t, Config{}, one.URL, two.URL))
			require.ErrorContains(t, err, "has no leader")
			require.NotContains(t, err.Error(), "error #0")
			require.Len(t, append(one.requests(), two.requests()...), 1)

			good := serve(t, answer{status: 200, body: fine})
			for range 10 {
				require.NoError(t, call(connect(t, Config{}, closedPort(t), good.URL)))
			}
		})
	}
	one, two := serve(t), serve(t)
	_, err := connect(t, Config{}, one.URL, two.URL).Set(within(t), "k", "v", SetOptions{})
	require.ErrorContains(t, err, "error #1: client: etcd member http://")
	require.Len(t, append(one.requests(), two.requests()...), 2, "a set may be repeated")
}

// G-71, G-72: what is said when nobody answers.
func TestReasons(t *testing.T) {
	closed := closedPort(t)
	_, err := connect(t, Config{}, closed).Get(within(t), "k", GetOptions{})
	reason := fmt.Sprintf("dial tcp %s: connect: connection refused", strings.TrimPrefix(closed, "http://"))
	require.EqualError(t, err, "client: etcd cluster is unavailable or misconfigured; error #0: "+reason+"\n")
	var all *ClusterError
	require.ErrorAs(t, err, &all)
	require.Equal(t, "error #0: "+reason+"\n", all.Detail())
	require.True(t, Unreachable(err))

	for status, want := range map[int]string{
		500: "client: etcd member URL has no leader",
		503: "client: etcd member URL has no leader",
		502: "client: etcd member URL returns server error [Bad Gateway]",
	} {
		s := serve(t, answer{status: status})
		_, err := connect(t, Config{}, s.URL).Get(within(t), "k", GetOptions{})
		require.EqualError(t, err, unavailable+"; error #0: "+strings.ReplaceAll(want, "URL", s.URL)+"\n")
		require.False(t, Unreachable(err))
	}

	slow := serve(t, answer{status: 200, body: fine, late: limit})
	_, err = connect(t, Config{HeaderTimeout: 20 * time.Millisecond}, slow.URL).Get(within(t), "k", GetOptions{})
	require.EqualError(t, err, unavailable+"; error #0: client: endpoint "+slow.URL+" exceeded header timeout\n")
	require.True(t, Unreachable(err))

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err = connect(t, Config{HeaderTimeout: limit}, slow.URL, slow.URL).Get(ctx, "k", GetOptions{})
	require.EqualError(t, err, "context deadline exceeded")
	require.True(t, Unreachable(err))

	for _, body := range []string{"404 page not found\n", "<html>"} {
		_, err = connect(t, Config{}, serve(t, answer{status: 404, body: body}).URL).Get(within(t), "k", GetOptions{})
		require.ErrorIs(t, err, ErrInvalidJSON)
	}
	_, err = connect(t, Config{}, serve(t, answer{status: 200, body: "<html>"}).URL).Get(within(t), "k", GetOptions{})
	require.ErrorIs(t, err, ErrInvalidJSON)
}

// G-54: redirects are followed, ten of them, with the same body and credentials.
func TestRedirects(t *testing.T) {
	good := serve(t, answer{status: 200, body: fine})
	s := serve(t, answer{status: 307, header: "Location: " + good.URL + "/v2/keys/other"})
	_, err := connect(t, Config{Username: "u", Password: "p:q"}, s.URL).Set(within(t), "k", "v", SetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"PUT /v2/keys/other value=v as u:p:q"}, good.requests())

	loop := serve(t, answer{status: 302, header: "Location: /v2/keys/again"})
	_, err = connect(t, Config{}, loop.URL).Get(within(t), "k", GetOptions{})
	require.ErrorContains(t, err, "client: too many redirects")
	require.Len(t, loop.requests(), 11)

	nowhere := serve(t, answer{status: 302})
	_, err = connect(t, Config{}, nowhere.URL).Get(within(t), "k", GetOptions{})
	require.ErrorContains(t, err, "without a location")
}

// Credentials do not follow a redirect out of TLS.
func TestCredentialsStaySecure(t *testing.T) {
	plain := serve(t, answer{status: 200, body: fine})
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/v2/keys/k", http.StatusTemporaryRedirect))
	t.Cleanup(secure.Close)
	tlsConfig := secure.Client().Transport.(*http.Transport).TLSClientConfig
	_, err := connect(t, Config{Username: "u", Password: "p", TLS: tlsConfig}, secure.URL).Get(within(t), "k", GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"GET /v2/keys/k"}, plain.requests())
}

// G-50, G-51: the members' client URLs replace the endpoints.
func TestSync(t *testing.T) {
	s := serve(t, answer{status: 200, body: `{"members":[{"id":"1","clientURLs":["http://b:1","http://a:1"]},{"id":"2","clientURLs":["http://c:1"]}]}`},
		answer{status: 200, body: `{"members":[{"id":"1","clientURLs":[]}]}`})
	c := connect(t, Config{Username: "u", Password: "p"}, s.URL)
	require.NoError(t, c.Sync(within(t)))
	require.ElementsMatch(t, []string{"http://a:1", "http://b:1", "http://c:1"}, c.Endpoints())
	require.Equal(t, []string{"GET /v2/members as u:p"}, s.requests(), "G-46")
	c = connect(t, Config{}, s.URL)
	require.ErrorIs(t, c.Sync(within(t)), ErrNoEndpoints)
	require.Equal(t, []string{s.URL}, c.Endpoints(), "those that were given stay")
}

// A client asks the endpoint that answered, and gives its connections back.
func TestTrace(t *testing.T) {
	s := serve(t, answer{status: 200, body: `{}`})
	var sent []Sent
	c := connect(t, Config{Username: "me", Password: "hidden", Trace: func(x Sent) { sent = append(sent, x) }}, s.URL)
	require.NoError(t, c.PutUser(within(t), "u", "hidden"))
	_, err := c.Set(within(t), "d", "", SetOptions{Dir: true})
	require.NoError(t, err)
	require.Equal(t, []Sent{
		{"PUT", s.URL + "/v2/auth/users/u", `{"user":"u","password":"***","roles":null}`, true},
		{"PUT", s.URL + "/v2/keys/d?dir=true", "", true},
	}, sent, "G-80")
	require.Equal(t, `PUT /v2/auth/users/u {"user":"u","password":"hidden","roles":null} as me:hidden`, s.requests()[0])
}

type records map[string]any

func (r records) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	switch v := r["_"+service+"._"+proto+"."+name].(type) {
	case []*net.SRV:
		return "", v, nil
	case error:
		return "", nil, v
	}
	return "", nil, nil
}

// G-43, D-41.
func TestDiscover(t *testing.T) {
	secure, plain := "_etcd-client-ssl._tcp.dom", "_etcd-client._tcp.dom"
	srv := func(target string, port uint16) []*net.SRV { return []*net.SRV{{Target: target, Port: port}} }
	got, err := Discover(within(t), records{secure: srv("a.dom.", 1), plain: srv("b.dom", 2)}, "dom")
	require.NoError(t, err)
	require.Equal(t, []string{"https://a.dom:1", "http://b.dom:2"}, got)
	got, err = Discover(within(t), records{secure: fmt.Errorf("no a"), plain: srv("b.dom", 2)}, "dom")
	require.NoError(t, err)
	require.Equal(t, []string{"http://b.dom:2"}, got)
	_, err = Discover(within(t), records{secure: fmt.Errorf("no a"), plain: fmt.Errorf("no b")}, "dom")
	require.EqualError(t, err, "dns lookup errors: no a and no b")
}
