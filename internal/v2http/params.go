package v2http

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/tree"
)

// keyRequest is a request for /v2/keys, taken apart (v2-http.md section 3).
type keyRequest struct {
	method string
	path   string // of the node
	asSent string // behind /v2/keys: what permissions are checked against

	value                                        string
	prevValue                                    string
	prevIndex, waitIndex                         uint64
	recursive, sorted, wait, dir, quorum, stream bool
	noValue, refresh                             bool
	prevExist                                    *bool
	ttl                                          *uint64 // in seconds; nil for none
	at, expires                                  int64   // when it came, and what ttl comes to, in nanoseconds of unix time
}

const (
	// KeysPath is where the keys are.
	KeysPath = "/v2/keys"
	mostForm = 10 << 20
	// mostTTL is the largest time to live that fits an expiration, in seconds; a larger one is refused (P-32).
	mostTTL = 9_223_372_036
)

// refusal is an error of the v2 API that is found before the tree is asked: it has no index.
type refusal struct {
	code  int
	cause string
}

func (r *refusal) Error() string { return fmt.Sprintf("v2: code %d (%s)", r.code, r.cause) }

// params are the parameters of the form, where it counts, and of the query, in this order: the first of a name counts.
type params []param

type param struct{ name, value string }

func (p params) get(name string) (string, bool) {
	for i := range p {
		if p[i].name == name {
			return p[i].value, true
		}
	}
	return "", false
}

// mostParams is how many parameters are looked through one by one: there are a dozen that mean something.
const mostParams = 64

// plainParams says that an encoded text is what it stands for, and short.
func plainParams(s string) bool {
	return !strings.ContainsAny(s, "%+;") && strings.Count(s, "&") <= mostParams
}

// parseParams appends the parameters of a plain text, as url.ParseQuery finds them.
func parseParams(p params, s string) params {
	for s != "" {
		var pair string
		pair, s, _ = strings.Cut(s, "&")
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			p = append(p, param{name, value})
		}
	}
	return p
}

func paramsOf(values url.Values) (p params) {
	for name, v := range values { // each name is there once: their order means nothing
		p = append(p, param{name, v[0]})
	}
	return p
}

func invalid(code int, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func (p params) number(name string) (uint64, error) {
	s, ok := p.get(name)
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, invalid(codeIndexNaN, "invalid value for %q", name)
	}
	return n, nil
}

func (p params) flag(name string) (bool, error) {
	s, ok := p.get(name)
	if !ok {
		return false, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return false, invalid(codeInvalidField, "invalid value for %q", name)
	}
	return b, nil
}

// maybe is a flag that may be unset.
func (p params) maybe(name string) (*bool, error) {
	s, ok := p.get(name)
	if !ok {
		return nil, nil
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		return nil, invalid(codeInvalidField, "invalid value for %s", name)
	}
	return &b, nil
}

const formType = "application/x-www-form-urlencoded"

// readParams reads query and form as net/http does, of whose errors clients see the text: only PUT and POST have a form, only
// if it is declared as one, and of at most 10 MiB. What is plain is read without net/http, which would make maps of it.
func readParams(r *http.Request) (params, error) {
	withForm, kind := r.Method == http.MethodPut || r.Method == http.MethodPost, r.Header.Get("Content-Type")
	if !plainParams(r.URL.RawQuery) || withForm && kind != "" && kind != formType {
		if err := r.ParseForm(); err != nil {
			return nil, invalid(codeInvalidForm, "%v", err)
		}
		return paramsOf(r.Form), nil
	}
	if !withForm || kind == "" {
		return parseParams(make(params, 0, 4), r.URL.RawQuery), nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, mostForm+1))
	if err != nil {
		return nil, invalid(codeInvalidForm, "%v", err)
	}
	if len(b) > mostForm {
		return nil, invalid(codeInvalidForm, "http: POST too large")
	}
	p, form := make(params, 0, 8), string(b)
	if plainParams(form) {
		p = parseParams(p, form)
	} else {
		values, err := url.ParseQuery(form)
		if err != nil {
			return nil, invalid(codeInvalidForm, "%v", err)
		}
		p = paramsOf(values)
	}
	return parseParams(p, r.URL.RawQuery), nil
}

// parseKeyRequest checks a request in the order of v2-http.md section 3.4. now is the one clock that a time to live is
// counted from.
func parseKeyRequest(r *http.Request, now func() time.Time) (*keyRequest, error) {
	p, err := readParams(r)
	if err != nil {
		return nil, err
	}
	at := now()
	rest, ok := strings.CutPrefix(r.URL.Path, KeysPath)
	if !ok {
		return nil, invalid(codeInvalidForm, "incorrect key prefix")
	}
	q := &keyRequest{method: r.Method, asSent: rest, path: tree.Clean(rest), at: at.UnixNano()}
	if q.prevIndex, err = p.number("prevIndex"); err != nil {
		return nil, err
	}
	if q.waitIndex, err = p.number("waitIndex"); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name string
		to   *bool
	}{{"recursive", &q.recursive}, {"sorted", &q.sorted}, {"wait", &q.wait}, {"dir", &q.dir}, {"quorum", &q.quorum}, {"stream", &q.stream}} {
		if *f.to, err = p.flag(f.name); err != nil {
			return nil, err
		}
	}
	if q.wait && r.Method != http.MethodGet {
		return nil, invalid(codeInvalidField, `"wait" can only be used with GET requests`)
	}
	if v, ok := p.get("prevValue"); ok {
		if v == "" {
			return nil, invalid(codePrevValueRequired, `"prevValue" cannot be empty`)
		}
		q.prevValue = v
	}
	if q.noValue, err = p.flag("noValueOnSuccess"); err != nil {
		return nil, err
	}
	if err := q.parseTTL(p, at); err != nil {
		return nil, err
	}
	if q.prevExist, err = p.maybe("prevExist"); err != nil {
		return nil, err
	}
	refresh, err := p.maybe("refresh")
	if err != nil {
		return nil, err
	}
	q.value, _ = p.get("value")
	if refresh != nil && *refresh {
		q.refresh = true
		switch {
		case q.value != "":
			return nil, invalid(codeRefreshValue, "A value was provided on a refresh")
		case q.ttl == nil:
			return nil, invalid(codeRefreshTTL, "No TTL value set")
		}
	}
	return q, nil
}

// parseTTL makes an expiration of a time to live. An empty one is none; 0 is one that is over at once.
func (q *keyRequest) parseTTL(p params, at time.Time) error {
	s, ok := p.get("ttl")
	if !ok || s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > mostTTL {
		return invalid(codeTTLNaN, `invalid value for "ttl"`)
	}
	q.ttl = &n
	if seconds := int64(n); at.Unix() <= mostTTL-seconds {
		q.expires = at.Add(time.Duration(seconds) * time.Second).UnixNano()
	} else {
		return invalid(codeTTLNaN, `invalid value for "ttl"`)
	}
	return nil
}
