package golden2

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// run compares two servers over one sequence of requests.
type run struct {
	pair
	gen     *generator
	index   int // requests so far
	watches *watches
	count   *counters

	touched    touches
	hide       *regexp.Regexp // what is not compared; nil for nothing
	everyUsers int            // requests between two phases with users
	phases     int            // with users
	seen       map[difference]int
	done       map[string]int // answers by kind
	last       []string       // what was asked, and answered by etcd
	wrong      []error        // differences that nobody knows of
}

const (
	mostHistory = 4000 // requests that are remembered to explain a difference
	mostShown   = 25
	mostWrong   = 8
)

func newRun(seed uint64, p pair) *run {
	r := &run{pair: p, gen: newGenerator(seed), touched: touches{}, seen: map[difference]int{}, done: map[string]int{}}
	r.watches, r.count = newWatches(r), newCounters(r)
	return r
}

// ask sends one request to both and compares the answers.
func (r *run) ask(q *request) (*answer, error) {
	a, b, err := r.pair.do(q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", q, err, r.history(q))
	}
	r.index++
	if d := r.compare(q, a, b); d != "" {
		wrong := fmt.Errorf("request %d: %s\n%s\netcd:  %s\ncairn: %s%s", r.index, q, d, a, b, r.history(q))
		r.wrong = append(r.wrong, wrong)
		if len(r.wrong) >= mostWrong || a.status/100 == 2 || b.status/100 == 2 {
			return nil, errors.New("there is no use in going on")
		}
	}
	r.learn(q, a, b)
	return a, nil
}

var errorCode = regexp.MustCompile(`^\{"errorCode":(\d+)`)

// learn remembers what the answers tell.
func (r *run) learn(q *request, a, b *answer) {
	kind := fmt.Sprint(q.method, " ", a.status)
	code := 0
	if m := errorCode.FindStringSubmatch(a.body); m != nil {
		kind += " " + m[1]
		code, _ = strconv.Atoi(m[1])
	}
	if n, err := strconv.ParseUint(a.head.Get("X-Etcd-Index"), 10, 64); err == nil && n > 0 {
		r.gen.index = n
	}
	r.count.count(q, a, code)
	if e, ok := parse(a.body); ok && q.method != "HEAD" {
		kind += " " + e.Action
		if e.Node != nil && e.Node.Key != "" && !strings.ContainsRune(e.Node.Key, '\ufffd') {
			f := fact{path: e.Node.Key, modified: e.Node.Modified}
			if e.Node.Value != nil {
				f.value = *e.Node.Value
			}
			r.gen.learn(f)
		}
		if e.Action == "update" { // of a key it does not matter
			key := q.path
			if e.Node != nil {
				key = e.Node.Key
			}
			r.touched.add(key, r.gen.index)
		}
	}
	r.done[kind]++
	r.last = append(r.last, fmt.Sprintf("%6d %s -> %d %s", r.index, q, a.status, cut(strings.TrimSpace(a.body))))
	if len(r.last) > mostHistory {
		r.last = r.last[len(r.last)-mostHistory/2:]
	}
}

// history are those of the last requests that have to do with a path, and the very last ones.
func (r *run) history(q *request) string {
	top := ""
	if q.path != "" && q.path != "/" {
		top = "/v2/keys/" + strings.SplitN(strings.TrimPrefix(q.path, "/"), "/", 2)[0]
	}
	var out []string
	for i := len(r.last) - 1; i >= 0 && len(out) < mostShown; i-- {
		if len(r.last)-i <= 3 || top != "" && strings.Contains(r.last[i], top) && !strings.Contains(r.last[i], " GET ") {
			out = append(out, r.last[i])
		}
	}
	text := "\nwhat came before:"
	for i := len(out) - 1; i >= 0; i-- {
		text += "\n" + out[i]
	}
	return text
}
