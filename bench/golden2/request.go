package golden2

import (
	"fmt"
	"net/url"
	"strings"
)

// request is one for both servers.
type request struct {
	method, target string   // as they are sent
	head           []string // lines
	body           string

	// What the comparison has to know of it.
	path      string // of the node, cleaned; "" if it is no request for keys
	recursive bool
	unsorted  bool // the order of what is listed is anybody's
	stream    bool
	waitIndex uint64
}

func (q *request) bytes() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:2379\r\n", q.method, q.target)
	for _, h := range q.head {
		b.WriteString(h + "\r\n")
	}
	if q.body != "" || q.method == "PUT" || q.method == "POST" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(q.body))
	}
	b.WriteString("\r\n" + q.body)
	return []byte(b.String())
}

func (q *request) String() string {
	s := q.method + " " + q.target
	for _, h := range q.head {
		if h != formType {
			s += " [" + h + "]"
		}
	}
	if q.body != "" {
		s += " body " + cut(fmt.Sprintf("%q", q.body))
	}
	return s
}

const (
	formType = "Content-Type: application/x-www-form-urlencoded"
	jsonType = "Content-Type: application/json"
)

// escape writes a key's path for a request line: what would end it or begin a query is escaped.
func escape(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

// param is one parameter, as text.
type param struct{ name, value string }

func encode(ps []param) string {
	var out []string
	for _, p := range ps {
		out = append(out, url.QueryEscape(p.name)+"="+url.QueryEscape(p.value))
	}
	return strings.Join(out, "&")
}
