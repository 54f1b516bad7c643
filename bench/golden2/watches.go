package golden2

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// watches are those that are open, each at both servers.
type watches struct {
	r        *run
	open     []*watchPair
	begun    int
	compared int // events
}

const (
	mostWatches = 12
	// eventLimit is how long an event of one server may come after that of the other.
	eventLimit = 5 * time.Second
)

func newWatches(r *run) *watches { return &watches{r: r} }

// watchPair is one watch at both servers.
type watchPair struct {
	q           *request
	began       int // the request before it
	index       uint64
	etcd, cairn *watcher
	compared    int
	over        bool // nothing more of it is compared
}

func (w *watchPair) String() string { return fmt.Sprintf("%s (begun after request %d)", w.q, w.began) }

// begin opens a watch and compares the heads, which come at once. One that is refused ends here.
func (ws *watches) begin(q *request) error {
	a, err := openWatcher(ws.r.etcd.server.Addr, q)
	if err != nil {
		return err
	}
	b, err := openWatcher(ws.r.cairn.server.Addr, q)
	if err != nil {
		a.close()
		return err
	}
	ws.begun++
	if d := ws.r.compare(q, &a.head, &b.head); d != "" {
		a.close()
		b.close()
		return fmt.Errorf("%s: %s\netcd:  %s\ncairn: %s%s", q, d, &a.head, &b.head, ws.r.history(q))
	}
	if a.head.status != 200 {
		a.close()
		b.close()
		ws.r.done["watch refused"]++
		return nil
	}
	ws.open = append(ws.open, &watchPair{q: q, began: ws.r.index, index: ws.r.gen.index, etcd: a, cairn: b})
	return nil
}

// check compares what has come so far, and lets go those that have ended.
func (ws *watches) check() error {
	var open []*watchPair
	for i, w := range ws.open {
		ended, err := ws.checkOne(w)
		if err != nil {
			return err
		}
		if ended {
			w.close()
			continue
		}
		open = append(open, ws.open[i])
	}
	ws.open = open
	return nil
}

func (w *watchPair) close() {
	w.etcd.close()
	w.cairn.close()
}

func (ws *watches) checkOne(w *watchPair) (ended bool, err error) {
	for limit := time.Now().Add(eventLimit); ; {
		x, xEnd := w.etcd.lines()
		y, yEnd := w.cairn.lines()
		x = ws.withoutTwice(w, x)
		for w.compared < min(len(x), len(y)) && !w.over {
			i := w.compared
			if d := ws.r.bodies(w.q, x[i], y[i]); d != "" {
				if ws.fromHistory(w, x[i], y[i]) {
					w.over = true
					break
				}
				return false, ws.failed(w, fmt.Sprintf("event %d: %s", i, d), x, y)
			}
			w.compared++
			ws.compared++
		}
		switch {
		case w.over:
			return true, nil
		case len(x) == len(y) && xEnd == yEnd:
			return xEnd, nil
		case w.compared == 0 && len(y) == 0 && len(x) > 0 && ws.fromHistory(w, x[0], ""):
			return true, nil
		case w.q.stream && w.q.waitIndex > 0 && w.q.waitIndex <= w.index && len(x) == 1 && len(y) > 1:
			// etcd says nothing more on such a stream (W-41).
			ws.r.saw(goesOn)
			return true, nil
		case time.Now().After(limit):
			return false, ws.failed(w, fmt.Sprintf("%d events (ended: %v), not %d (ended: %v)", len(y), yEnd, len(x), xEnd), x, y)
		}
		time.Sleep(time.Millisecond)
	}
}

// withoutTwice removes the second one of the two events that etcd sends to a stream whose own node is removed (W-42).
func (ws *watches) withoutTwice(w *watchPair, lines []string) (out []string) {
	if !w.q.stream {
		return lines
	}
	for i, l := range lines {
		if i > 0 && l == lines[i-1] && (strings.HasPrefix(l, `{"action":"delete"`) || strings.HasPrefix(l, `{"action":"expire"`) ||
			strings.HasPrefix(l, `{"action":"compareAndDelete"`)) {
			ws.r.saw(once)
			continue
		}
		out = append(out, l)
	}
	return out
}

// fromHistory says whether etcd gave an event from history that does not concern the watch: hidden from it (W-35), or the
// removal of a directory whose name only begins as the path does (W-34). cairn's is a later one, or none yet.
func (ws *watches) fromHistory(w *watchPair, etcd, cairn string) bool {
	if w.q.waitIndex == 0 || w.q.waitIndex > w.index {
		return false
	}
	e, ok := parse(etcd)
	if !ok || e.Node == nil || e.Node.Modified > w.index {
		return false
	}
	if cairn != "" {
		f, ok := parse(cairn)
		if !ok || f.Node == nil || f.Node.Modified <= e.Node.Modified {
			return false
		}
	}
	key, p := e.Node.Key, w.q.path
	under := strings.TrimSuffix(p, "/") + "/"
	switch {
	case strings.HasPrefix(key, under) && strings.Contains("/"+strings.TrimPrefix(key, under), "/_"):
		ws.r.saw(hidden)
	case strings.HasPrefix(p, key) && !strings.HasPrefix(p, key+"/") && p != key && (e.Action == "delete" || e.Action == "expire"):
		ws.r.saw(byComponents)
	default:
		return false
	}
	return true
}

// silent is how many of the open streams etcd has let go: those that history had an event for (W-41).
func (ws *watches) silent() (n int) {
	for _, w := range ws.open {
		if lines, _ := w.etcd.lines(); w.q.stream && w.q.waitIndex > 0 && len(lines) > 0 {
			if e, ok := parse(lines[0]); ok && e.Node != nil && e.Node.Modified <= w.index {
				n++
			}
		}
	}
	return n
}

func (ws *watches) failed(w *watchPair, what string, x, y []string) error {
	tail := func(s []string) string { return cut(strings.Join(s[min(len(s), max(0, w.compared-1)):], "")) }
	return fmt.Errorf("watch %s: %s\netcd:  %s\ncairn: %s%s", w, what, tail(x), tail(y), ws.r.history(w.q))
}

// closeOne ends one of the open watches.
func (ws *watches) closeOne(i int) {
	ws.open[i].close()
	ws.open = append(ws.open[:i], ws.open[i+1:]...)
}

func (ws *watches) closeAll() {
	for len(ws.open) > 0 {
		ws.closeOne(0)
	}
}

// step makes, checks and ends watches now and then.
func (ws *watches) step() error {
	g := ws.r.gen
	if g.chance(0.7) {
		if err := ws.check(); err != nil {
			return err
		}
		if len(ws.open) > 0 && g.chance(30) {
			ws.closeOne(g.rnd.IntN(len(ws.open)))
		}
	}
	if len(ws.open) < mostWatches && g.chance(2.5) {
		return ws.begin(g.watch())
	}
	return nil
}

// watch makes a request that waits.
func (g *generator) watch() *request {
	p := g.path()
	q := &request{method: "GET"}
	q.target, q.path = "/v2/keys"+escape(p), p
	if p == "/" && g.chance(50) {
		q.target = "/v2/keys"
	}
	ps := []param{{"wait", g.one("true", "1", "T")}}
	if g.chance(60) {
		q.recursive = g.chance(85)
		ps = append(ps, param{"recursive", strconv.FormatBool(q.recursive)})
	}
	if g.chance(35) {
		q.stream = true
		ps = append(ps, param{"stream", "true"})
	}
	if g.chance(60) {
		switch n := g.rnd.IntN(10); {
		case n < 4:
			q.waitIndex = g.index - min(g.index-1, uint64(g.rnd.IntN(60)))
		case n < 6:
			q.waitIndex = g.index - min(g.index-1, uint64(g.rnd.IntN(1100)))
		case n < 9:
			q.waitIndex = g.index + uint64(g.rnd.IntN(30))
		}
		ps = append(ps, param{"waitIndex", strconv.FormatUint(q.waitIndex, 10)})
	}
	if g.chance(3) {
		ps = append(ps, param{g.one("sorted", "dir", "quorum", "stream", "ttl"), g.one("x", "false")})
	}
	q.target += "?" + encode(ps)
	return q
}
