package ctl2

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// limit bounds every wait of these tests; it is only reached by failures.
const limit = 10 * time.Second

// result is what a run left.
type result struct {
	out, err string
	code     int
}

// server answers with what a test gives it, and notes what it was asked.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string
	answers map[string][]answer // by method and path; the last one stays
}

type answer struct {
	status int
	body   string
	late   bool // never comes
}

// ok is a plain answer.
func ok(body string) answer { return answer{status: 200, body: body} }

func serve(t *testing.T) *server {
	s := &server{answers: map[string][]answer{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	s.on("GET /v2/members", ok(s.members(s.URL)))
	return s
}

// members is a list of one member with client URLs.
func (s *server) members(urls ...string) string {
	b, err := json.Marshal(urls)
	if err != nil {
		panic(err)
	}
	return `{"members":[{"id":"abc","name":"m","peerURLs":["http://p:1","http://q:1"],"clientURLs":` + string(b) + `}]}`
}

// on sets the answers to a method and path, in their order.
func (s *server) on(what string, a ...answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[what] = a
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	what := r.Method + " " + r.URL.Path
	s.mu.Lock()
	note := r.Method + " " + r.URL.RequestURI()
	if len(body) > 0 {
		note += " " + string(body)
	}
	if user, password, ok := r.BasicAuth(); ok {
		note += " as " + user + ":" + password
	}
	s.asked = append(s.asked, note)
	a := answer{status: 404, body: `{"errorCode":100,"message":"Key not found","cause":"` + strings.TrimPrefix(r.URL.Path, "/v2/keys") + `","index":7}`}
	if queue := s.answers[what]; len(queue) > 0 {
		a = queue[0]
		if len(queue) > 1 {
			s.answers[what] = queue[1:]
		}
	}
	s.mu.Unlock()
	if a.late {
		<-r.Context().Done()
		return
	}
	w.Header().Set("X-Etcd-Index", "9")
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

// requests are those since the last call, without the ones that learn endpoints.
func (s *server) requests() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.asked {
		if a != "GET /v2/members" {
			out = append(out, a)
		}
	}
	s.asked = nil
	return out
}

// syncBuffer is a buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func program(t *testing.T, s *server, stdin string, args ...string) (*Program, *syncBuffer, *syncBuffer) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	if s != nil {
		args = append([]string{"--endpoints", s.URL}, args...)
	}
	out, errs := &syncBuffer{}, &syncBuffer{}
	return &Program{Args: args, Version: "1.2.3", Stdin: strings.NewReader(stdin), Stdout: out, Stderr: errs,
		Environ: []string{"PATH=" + os.Getenv("PATH")}, Context: ctx}, out, errs
}

// run executes one command line against a server, without any environment.
func run(t *testing.T, s *server, stdin string, args ...string) result {
	t.Helper()
	p, out, errs := program(t, s, stdin, args...)
	code := p.Run()
	r := result{out.String(), errs.String(), code}
	if s != nil {
		r.out, r.err = strings.ReplaceAll(r.out, s.URL, "EP"), strings.ReplaceAll(r.err, s.URL, "EP")
	}
	return r
}

// words splits a command line at blanks.
func words(s string) []string { return strings.Fields(s) }

// closedPort is an endpoint where nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

func node(key, value string, more string) string {
	return fmt.Sprintf(`{"key":%q,"value":%q%s,"modifiedIndex":5,"createdIndex":4}`, key, value, more)
}

const dirNode = `{"key":"/d","dir":true,"modifiedIndex":5,"createdIndex":4}`

func event(action, node string) string { return `{"action":"` + action + `","node":` + node + `}` }
