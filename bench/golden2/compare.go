package golden2

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timed is a node's time to live in JSON. Text cannot look like it, because the quotes in a JSON string are escaped.
var timed = regexp.MustCompile(`"expiration":"([^"]*)"(?:,"ttl":(-?\d+))?`)

const (
	// apart is how far expirations of the two servers may lie from one another: they count from when they read a request.
	apart = 3 * time.Second
	// ttlApart is how many seconds the times left may differ, which are rounded.
	ttlApart = 1
)

// mask puts marks in the place of times to live that are near one another, and says what is wrong with the others.
func mask(etcd, cairn string) (a, b, wrong string) {
	x, y := timed.FindAllStringSubmatch(etcd, -1), timed.FindAllStringSubmatch(cairn, -1)
	if len(x) == len(y) {
		for i := range x {
			if why := near(x[i], y[i]); why != "" {
				return etcd, cairn, why
			}
		}
	}
	const mark = `"expiration":T`
	return timed.ReplaceAllString(etcd, mark), timed.ReplaceAllString(cairn, mark), ""
}

func near(x, y []string) string {
	a, err := time.Parse(time.RFC3339Nano, x[1])
	if err != nil {
		return "etcd: " + err.Error()
	}
	b, err := time.Parse(time.RFC3339Nano, y[1])
	switch {
	case err != nil:
		return "cairn: " + err.Error()
	case y[1] != b.UTC().Format(time.RFC3339Nano):
		return "cairn's expiration has another form: " + y[1]
	case a.Sub(b).Abs() > apart:
		return fmt.Sprintf("expirations are %s apart", a.Sub(b))
	}
	var left [2]int
	for i, s := range []string{x[2], y[2]} {
		if s != "" {
			if left[i], err = strconv.Atoi(s); err != nil {
				return err.Error()
			}
		}
	}
	if y[2] == "0" {
		return "cairn shows a time to live of 0"
	}
	if d := left[0] - left[1]; d > ttlApart || d < -ttlApart {
		return fmt.Sprintf("%d and %d seconds are left", left[0], left[1])
	}
	return ""
}

// header is the part of an answer's head that has to be the same.
func header(h http.Header) (string, error) {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		v := strings.Join(h[name], ", ")
		switch name {
		case "Date", "Content-Length":
			continue
		case "X-Raft-Index", "X-Raft-Term":
			if n, err := strconv.ParseUint(v, 10, 64); err != nil || n == 0 {
				return "", fmt.Errorf("%s: %q", name, v)
			}
			v = "N"
		}
		out = append(out, name+": "+v)
	}
	return strings.Join(out, "\n"), nil
}

// node is a node in an answer, for the comparisons that are not of bytes.
type node struct {
	Key        string  `json:"key,omitempty"`
	Value      *string `json:"value,omitempty"`
	Dir        bool    `json:"dir,omitempty"`
	Expiration string  `json:"expiration,omitempty"`
	TTL        int     `json:"ttl,omitempty"`
	Nodes      []*node `json:"nodes,omitempty"`
	Modified   uint64  `json:"modifiedIndex,omitempty"`
	Created    uint64  `json:"createdIndex,omitempty"`
}

type event struct {
	Action string `json:"action"`
	Node   *node  `json:"node,omitempty"`
	Prev   *node  `json:"prevNode,omitempty"`
}

func parse(body string) (*event, bool) {
	var e event
	if json.Unmarshal([]byte(body), &e) != nil || e.Action == "" {
		return nil, false
	}
	return &e, true
}

func (e *event) String() string {
	b, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (n *node) walk(f func(*node)) {
	if n == nil {
		return
	}
	f(n)
	for _, c := range n.Nodes {
		c.walk(f)
	}
}

// compare tells how two answers differ; "" if they do not.
func (r *run) compare(q *request, a, b *answer) string {
	if a.status != b.status {
		return fmt.Sprintf("status %d, not %d", b.status, a.status)
	}
	x, err := header(a.head)
	if err != nil {
		return "etcd: " + err.Error()
	}
	y, err := header(b.head)
	if err != nil {
		return "cairn: " + err.Error()
	}
	if x != y {
		return fmt.Sprintf("headers\n%s\nnot\n%s", y, x)
	}
	if q.method == "HEAD" && b.status == http.StatusOK && b.length <= 0 {
		return fmt.Sprintf("the answer to HEAD says it has %d bytes", b.length)
	}
	return r.bodies(q, a.body, b.body)
}

func (r *run) bodies(q *request, a, b string) string {
	if r.hide != nil {
		a, b = r.hide.ReplaceAllString(a, ""), r.hide.ReplaceAllString(b, "")
	}
	wrong := alike(a, b)
	if wrong == "" {
		return ""
	}
	if e, ok := parse(a); ok {
		if f, ok := parse(b); ok && r.same(q, e, f) {
			return ""
		}
	}
	return wrong
}

// alike says how two texts differ, but for times to live.
func alike(etcd, cairn string) string {
	x, y, wrong := mask(etcd, cairn)
	if wrong == "" && x != y {
		return "bodies differ " + firstDifference(x, y)
	}
	return wrong
}

func firstDifference(x, y string) string {
	i := 0
	for i < min(len(x), len(y)) && x[i] == y[i] {
		i++
	}
	around := func(s string) string { return s[max(0, i-120):min(len(s), i+120)] }
	return fmt.Sprintf("at byte %d:\n  %q\nnot\n  %q", i, around(y), around(x))
}

// same compares what two answers mean, as far as their bytes need not be the same.
func (r *run) same(q *request, e, f *event) bool {
	if q.unsorted {
		// A name that is no text is shown as another one is that would be sorted elsewhere.
		byKey := func(a, b *node) int { return strings.Compare(a.Key, b.Key) }
		inOrder := true
		f.Node.walk(func(n *node) {
			text := slices.DeleteFunc(slices.Clone(n.Nodes), func(n *node) bool { return strings.ContainsRune(n.Key, '\ufffd') })
			inOrder = inOrder && slices.IsSortedFunc(text, byKey)
			slices.SortFunc(n.Nodes, byKey)
		})
		if !inOrder {
			return false // cairn sorts always
		}
		e.Node.walk(func(n *node) { slices.SortFunc(n.Nodes, byKey) })
		if alike(e.String(), f.String()) == "" {
			r.saw(sorted)
			return true
		}
	}
	// etcd forgets that a directory's time to live was changed (K-93).
	changed := false
	remember := func(before uint64) func(n *node) {
		return func(n *node) {
			if at := r.touched.last(n.Key, before); n.Dir && at > n.Modified {
				n.Modified, changed = at, true
			}
		}
	}
	if e.Action == "get" {
		e.Node.walk(remember(math.MaxUint64))
	} else if e.Node != nil {
		e.Prev.walk(remember(e.Node.Modified))
	}
	if changed && alike(e.String(), f.String()) == "" {
		r.saw(touched)
		return true
	}
	return false
}

// touches are the indexes of changes of directories' times to live, by path.
type touches map[string][]uint64

func (t touches) add(path string, index uint64) {
	shown := string([]rune(path))
	t[shown] = append(t[shown], index)
}

// last is the last one before an index, 0 if there is none.
func (t touches) last(path string, before uint64) (last uint64) {
	for _, at := range t[path] {
		if at < before {
			last = at
		}
	}
	return last
}
