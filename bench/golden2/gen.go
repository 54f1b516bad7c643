package golden2

import (
	"math/rand/v2"
	"net/url"
	"path"
	"strconv"
	"strings"
)

// fact is what is remembered of a key, so that some conditions hold.
type fact struct {
	path     string
	value    string
	modified uint64
}

// generator makes requests. The same seed makes the same ones, as long as the answers are the same.
type generator struct {
	rnd   *rand.Rand
	index uint64 // of the store, as last told
	facts []fact // a ring of what was last seen
	next  int

	member string // the ID that both servers have
}

const mostFacts = 48

func newGenerator(seed uint64) *generator {
	return &generator{rnd: rand.New(rand.NewPCG(seed, 2))}
}

func (g *generator) one(of ...string) string     { return of[g.rnd.IntN(len(of))] }
func (g *generator) chance(percent float64) bool { return g.rnd.Float64()*100 < percent }

func (g *generator) learn(f fact) {
	if len(g.facts) < mostFacts {
		g.facts = append(g.facts, f)
		return
	}
	g.facts[g.next] = f
	g.next = (g.next + 1) % mostFacts
}

func (g *generator) recall() (fact, bool) {
	if len(g.facts) == 0 {
		return fact{}, false
	}
	return g.facts[g.rnd.IntN(len(g.facts))], true
}

// name is a component of a path. Few are used again and again; some are odd.
func (g *generator) name() string {
	if g.chance(88) {
		return g.one("a", "b", "c", "foo", "foobar", "_h")
	}
	return g.one("a b", "é", "日本", "x.y", "...", "<&>", "a\u2028", "\xff\xfe", "a\x00", "0", "A", "_", "__", "a_b", "a%2fb", "q?x", "#", "+",
		"a:b", "a;b", "'\"\\", "\n", strings.Repeat("long", 80), ".a", "~", "=&", "*", "{a}", "00000000000000000042")
}

func (g *generator) path() string {
	f, ok := g.recall()
	switch {
	case ok && g.chance(45):
		switch {
		case g.chance(12):
			return f.path + "/" + g.name()
		case g.chance(12):
			return path.Dir(f.path)
		}
		return f.path
	case g.chance(2):
		return "/"
	case g.chance(1):
		return "/" + strings.TrimSuffix(strings.Repeat("d/", 60), "/")
	}
	p := ""
	for range 1 + g.rnd.IntN(4) {
		p += "/" + g.name()
	}
	return p
}

// target writes a path as it goes into the request line, and returns what node that stands for.
func (g *generator) target(p string) (target, node string) {
	t := "/v2/keys" + escape(p)
	if p == "/" && g.chance(50) {
		t = "/v2/keys"
	}
	if g.chance(4) {
		t = g.oddTarget(t)
	}
	raw, err := url.PathUnescape(strings.SplitN(t, "?", 2)[0])
	if err != nil {
		return t, "/"
	}
	return t, path.Clean("/" + strings.TrimPrefix(path.Clean(raw), "/v2/keys"))
}

func (g *generator) oddTarget(t string) string {
	switch g.rnd.IntN(12) {
	case 0, 1, 2:
		return t + "/"
	case 3:
		return strings.Replace(t, "/v2/keys/", "/v2/keys//", 1)
	case 4:
		return t + "//x"
	case 5:
		return t + "/./x"
	case 6:
		return t + "/../y"
	case 7:
		return "/v2/keys/../2/enabled"
	case 8:
		return "/v2/keys/%2e%2e/2/enabled"
	case 9:
		return "/v2/keys" + strings.ReplaceAll(strings.TrimPrefix(t, "/v2/keys"), "/", "%2F")
	case 10:
		return strings.ReplaceAll(t, "a", "%61")
	}
	return t + g.one("%", "%zz", "%2", "%00", "?", "#frag")
}

func (g *generator) bool() string {
	if g.chance(7) {
		return g.one("", "yes", "no", "2", "tRUE", " true", "on")
	}
	if g.chance(75) {
		return g.one("true", "1", "t", "T", "TRUE", "True")
	}
	return g.one("false", "0", "f", "F", "FALSE", "False")
}

func (g *generator) value() string {
	switch {
	case g.chance(10):
		return ""
	case g.chance(75):
		return g.one("1", "2", "x", "hello", "red", "blue")
	case g.chance(3):
		return strings.Repeat("big ", 1<<(8+g.rnd.IntN(8)))
	}
	return g.one("a b", "é日本", "<b>&amp;</b>", "line\nbreak", "\xff\xfe\x00", "\u2028\u2029", `"quoted\"`, "\x7f\x01", "%41", "a+b", "=&=",
		"null", strings.Repeat("v", 300))
}

func (g *generator) ttl() string {
	switch {
	case g.chance(8):
		return ""
	case g.chance(8):
		return g.one("-1", "abc", "1.5", "0x10", "18446744073709551616", "99999999999999999999", "+5", " 5", "1e3")
	}
	// It does not end while the test runs. What ends is a phase of its own.
	return strconv.Itoa(100_000 + g.rnd.IntN(1_000_000))
}

func (g *generator) prevIndex() string {
	f, ok := g.recall()
	switch {
	case g.chance(6):
		return g.one("-1", "", "abc", "1.0", "0x1", "18446744073709551615", "18446744073709551616", "0")
	case ok && g.chance(65):
		return strconv.FormatUint(f.modified, 10)
	}
	return strconv.FormatUint(g.index, 10)
}

func (g *generator) prevValue() string {
	f, ok := g.recall()
	switch {
	case g.chance(4):
		return ""
	case ok && g.chance(50):
		return f.value
	}
	return g.value()
}

// conditions are mostly those of the node that is asked for.
func (g *generator) conditions(p string, ps []param) []param {
	for _, f := range g.facts {
		if f.path == p && g.chance(70) {
			if f.value != "" && g.chance(60) {
				ps = append(ps, param{"prevValue", f.value})
			}
			if g.chance(50) {
				ps = append(ps, param{"prevIndex", strconv.FormatUint(f.modified, 10)})
			}
			return ps
		}
	}
	if g.chance(60) {
		ps = append(ps, param{"prevValue", g.prevValue()})
	}
	if g.chance(50) {
		ps = append(ps, param{"prevIndex", g.prevIndex()})
	}
	return ps
}

// keys makes a request for a key.
func (g *generator) keys() *request {
	p := g.path()
	q := &request{}
	q.target, q.path = g.target(p)
	var ps []param
	switch n := g.rnd.IntN(100); {
	case n < 26:
		q.method = g.one("GET", "GET", "GET", "GET", "GET", "HEAD")
		if g.chance(60) {
			ps = append(ps, param{"recursive", g.bool()})
		}
		if g.chance(85) {
			ps = append(ps, param{"sorted", "true"})
		} else if g.chance(20) {
			ps = append(ps, param{"sorted", g.bool()})
		}
		if g.chance(20) {
			ps = append(ps, param{"quorum", g.bool()})
		}
		if g.chance(2) { // else it would wait
			ps = append(ps, param{"wait", g.one("0", "", "false", "x")}, param{"waitIndex", g.prevIndex()})
		}
	case n < 44:
		q.method, ps = "PUT", []param{{"value", g.value()}}
	case n < 50:
		q.method, ps = "PUT", []param{{"value", g.value()}, {"prevExist", g.one("false", "0", "F")}}
	case n < 58:
		q.method, ps = "PUT", []param{{"value", g.value()}, {"prevExist", g.one("true", "1", "T")}}
		if g.chance(20) {
			ps = ps[1:]
		}
	case n < 70:
		q.method, ps = "PUT", g.conditions(p, []param{{"value", g.value()}})
		if g.chance(20) {
			ps = append(ps, param{"prevExist", g.bool()})
		}
	case n < 75:
		q.method, ps = "POST", []param{{"value", g.value()}}
	case n < 80:
		q.method, ps = "PUT", []param{{"dir", g.bool()}}
		if g.chance(50) {
			ps = append(ps, param{"prevExist", g.bool()})
		}
		if g.chance(20) {
			ps = append(ps, param{"value", g.value()})
		}
	case n < 85:
		q.method, ps = "PUT", []param{{"refresh", g.bool()}, {"ttl", g.ttl()}}
		if g.chance(60) {
			ps = append(ps, param{"prevExist", g.bool()})
		}
		if g.chance(20) {
			ps = g.conditions(p, ps)
		}
		if g.chance(10) {
			ps = append(ps, param{"value", g.value()})
		}
	case n < 93:
		q.method = "DELETE"
		if g.chance(50) {
			ps = append(ps, param{g.one("dir", "recursive"), g.bool()})
		}
	case n < 97:
		q.method, ps = "DELETE", g.conditions(p, nil)
	default: // anything, with anything
		q.method = g.one("PUT", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "put")
		for range 1 + g.rnd.IntN(6) {
			switch name := g.one("value", "ttl", "prevValue", "prevIndex", "waitIndex", "recursive", "sorted", "wait", "dir", "quorum",
				"stream", "noValueOnSuccess", "prevExist", "refresh", "unknown", "Value", ""); name {
			case "value":
				ps = append(ps, param{name, g.value()})
			case "ttl":
				ps = append(ps, param{name, g.ttl()})
			case "prevValue":
				ps = append(ps, param{name, g.prevValue()})
			case "prevIndex", "waitIndex":
				ps = append(ps, param{name, g.prevIndex()})
			default:
				ps = append(ps, param{name, g.bool()})
			}
		}
	}
	if q.method == "PUT" || q.method == "POST" {
		if g.chance(15) {
			ps = append(ps, param{"ttl", g.ttl()})
		}
		if g.chance(5) {
			ps = append(ps, param{"noValueOnSuccess", g.bool()})
		}
		if g.chance(3) {
			ps = append(ps, param{"dir", g.bool()})
		}
	}
	g.place(q, ps)
	return q
}

// place puts parameters into the query and the form.
func (g *generator) place(q *request, ps []param) {
	var query, form []param
	withBody := q.method == "PUT" || q.method == "POST" || g.chance(2)
	inBody := 80.0
	if g.chance(20) {
		inBody = 0
	}
	for _, p := range ps {
		if withBody && g.chance(inBody) {
			form = append(form, p)
			if p.name != "wait" && g.chance(2) { // and a different one in the other place, or once more
				query = append(query, param{p.name, g.one("", "true", "7", p.value)})
			}
		} else {
			query = append(query, p)
		}
		if p.name != "wait" && g.chance(0.5) {
			query = append(query, param{p.name, g.one("1", "x")})
		}
	}
	text, body := encode(query), encode(form)
	if g.chance(0.6) {
		text += g.one("&", "%", "&%zz=1", ";a=b", "&a", "&=", "&&")
	}
	if g.chance(0.6) && withBody {
		body += g.one("&", "%", "&%zz=1", ";a=b", "&a", "&=", "%x")
	}
	if text != "" && !strings.ContainsAny(q.target, "?#") {
		q.target += "?" + text
	}
	q.body, q.unsorted = body, !strings.Contains(q.target, "sorted=true")
	switch {
	case body == "":
	case g.chance(94):
		q.head = append(q.head, formType)
	default:
		if kind := g.one("", "application/json", "text/plain", formTypeValue+"; charset=utf-8", formTypeValue+";param=value", formTypeValue+"; x",
			"Application/X-WWW-Form-Urlencoded", "a/b/c", ";", "multipart/form-data; boundary=x"); kind != "" {
			q.head = append(q.head, "Content-Type: "+kind)
		}
	}
}

const formTypeValue = "application/x-www-form-urlencoded"

// others makes a request for something else than a key.
func (g *generator) others() *request {
	if g.chance(35) {
		return g.members()
	}
	target := g.one("/v2/machines", "/v2/machines/", "/v2/members", "/v2/members/leader", "/v2/stats/self/", "/v2/stats/nothing", "/v2/stats",
		"/v2/stats/", "/", "/v2", "/v2/", "/v2/leader", "/v2/admin/machines", "/v2/speedTest", "/v1/keys/a", "/mod/v2/lock/x", "/v2/keysx",
		"/v2/auth", "/v2/auth/", "/v2/auth/enable", "/v2/auth/enable/", "/v2/auth/enable/x", "/v2/auth/users/a/b", "/v2/auth/usersx", "/version/",
		"/health/x", "/v2/config/local/proxy", "/v2//machines", "/v2/keys/../machines", "/nothing", "/config/local/log/x", "/V2/keys", "*",
		"/v2/stats/store", "/v2/stats/leader", "/v2/stats/self", "/version", "/health", "/debug/pprof/", "/v2%2Fmachines")
	method := g.one("GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "POST", "DELETE", "PATCH")
	if bare := strings.TrimSuffix(target, "/"); method == "GET" && (strings.HasPrefix(bare, "/v2/stats/s") || bare == "/version" || bare == "/health") {
		method = "DELETE" // their answers are compared elsewhere
	}
	if strings.HasPrefix(target, "/v2/auth") && method != "GET" && method != "OPTIONS" {
		method = "PATCH" // users are a phase of their own
	}
	return &request{method: method, target: target}
}

// members makes a request for members that changes none.
func (g *generator) members() *request {
	q := &request{method: g.one("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD")}
	q.target = "/v2/members" + g.one("", "/", "/leader", "/nothing", "/"+g.member+"x", "/123", "/0", "/ffffffffffffffffff", "/a/b")
	if q.method == "PUT" && g.chance(40) {
		q.target = "/v2/members/" + g.one(g.member, strings.ToUpper(g.member))
	}
	if q.method == "POST" || q.method == "PUT" {
		q.head = []string{"Content-Type: " + g.one("application/json", "application/json", "application/json", "application/json; charset=utf-8",
			"text/plain", "", formTypeValue)}
		q.body = g.one(`{"peerURLs":["http://127.0.0.1:2380"]}`, `{"PEERURLS":["http://127.0.0.1:2380"]}`, `{"peerURLs":[]}`, `{}`, `nothing`, ``, `[]`,
			`{"peerURLs":["ftp://a:1"]}`, `{"peerURLs":["http://a"]}`, `{"peerURLs":["http://a:1/path"]}`, `{"peerURLs":["%"]}`, `{"peerURLs":"x"}`,
			`{"peerURLs":[1]}`, `{"peerURLs":["http://127.0.0.1:2380"],"name":"x"}`, `{"peerURLs":["127.0.0.1:2380"]}`, `{"peerURLs":["//a:1"]}`,
			`{"peerURLs":["unix://a"]}x`, `{"peerURLs":["http://a:1?q"]}x`, `{"peerURLs":[" http://127.0.0.1:2380 "]}`, `{"peerURLs":["http://a:b"]}`)
	}
	return q
}

func (g *generator) any() *request {
	if g.chance(3) {
		return g.others()
	}
	return g.keys()
}
