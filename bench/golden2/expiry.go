package golden2

import (
	"fmt"
	"strconv"
	"time"
)

// expiry is a phase in which nodes end: times to live of one and two seconds are given, and one that is over at once
// as the last of them. Then nothing is asked until both servers have removed all of them, so that each counts the same
// number of changes.
func (r *run) expiry() error {
	g := r.gen
	for _, p := range []string{"/ttl", "/saved"} { // what random requests have put there
		if _, err := r.ask(&request{method: "DELETE", target: "/v2/keys" + p + "?recursive=true", path: p}); err != nil {
			return err
		}
	}
	began, ended := time.Now(), 0
	short := func(ttl string) error {
		dir := "/ttl/" + strconv.Itoa(ended)
		ended++
		q := &request{method: "PUT", head: []string{formType}}
		switch g.rnd.IntN(6) {
		case 0: // a directory with something in it
			if _, err := r.ask(r.put(dir, param{"dir", "true"}, param{"ttl", ttl})); err != nil {
				return err
			}
			for _, p := range []string{"/x", "/_h", "/y/z"} {
				if _, err := r.ask(r.put(dir+p, param{"value", "v"}, param{"ttl", g.one("", "100000")})); err != nil {
					return err
				}
			}
			return nil
		case 1: // one that was permanent, and swaps
			if _, err := r.ask(r.put(dir, param{"value", "v"})); err != nil {
				return err
			}
			q = r.put(dir, param{"value", "w"}, param{"prevValue", "v"}, param{"ttl", ttl})
		case 2: // shortened by a refresh
			if _, err := r.ask(r.put(dir, param{"value", "v"}, param{"ttl", "100000"})); err != nil {
				return err
			}
			q = r.put(dir, param{"refresh", "true"}, param{"prevExist", "true"}, param{"ttl", ttl})
		case 3:
			q = r.put(dir, param{"value", ""}, param{"ttl", ttl}, param{"prevExist", "false"})
		case 4: // in a directory that is hidden
			q = r.put("/ttl/_h/"+strconv.Itoa(ended), param{"value", "v"}, param{"ttl", ttl})
		default:
			q = r.put(dir, param{"value", "v"}, param{"ttl", ttl})
		}
		_, err := r.ask(q)
		return err
	}
	for range 2 + g.rnd.IntN(4) {
		if err := short(g.one("1", "2")); err != nil {
			return err
		}
	}
	// And some that are saved in time.
	for i, save := range [][]param{{{"value", "v"}}, {{"refresh", "true"}, {"ttl", "100000"}}, {{"refresh", "true"}, {"ttl", "100000"}, {"prevExist", "true"}},
		{{"value", "w"}, {"ttl", "100000"}, {"prevExist", "true"}}, {{"value", "w"}, {"prevValue", "v"}}} {
		p := "/saved/" + strconv.Itoa(i)
		if _, err := r.ask(r.put(p, param{"value", "v"}, param{"ttl", "1"})); err != nil {
			return err
		}
		if _, err := r.ask(r.put(p, save...)); err != nil {
			return err
		}
	}
	if d := time.Since(began); d > 400*time.Millisecond {
		r.saw(slow)
		return r.reset(d)
	}
	if _, err := r.ask(r.put("/ttl/now", param{"value", "v"}, param{"ttl", "0"})); err != nil {
		return err
	}
	ended++
	if err := r.awaitIndex(g.index + uint64(ended)); err != nil {
		return err
	}
	if err := r.watches.check(); err != nil {
		return err
	}
	if err := r.endings(); err != nil {
		return err
	}
	return r.count.check()
}

func (r *run) put(p string, ps ...param) *request {
	return &request{method: "PUT", target: "/v2/keys" + escape(p), path: p, head: []string{formType}, body: encode(ps)}
}

// endings lists what there is and what has ended.
func (r *run) endings() error {
	for _, target := range []string{"/v2/keys/ttl?recursive=true&sorted=true", "/v2/keys/ttl/_h?recursive=true&sorted=true", "/v2/keys?recursive=true&sorted=true"} {
		if _, err := r.ask(&request{method: "GET", target: target, path: "/ttl"}); err != nil {
			return err
		}
	}
	return nil
}

// awaitIndex waits until both servers have come to an index, and stay there.
func (r *run) awaitIndex(want uint64) error {
	q := &request{method: "GET", target: "/v2/keys/nothing", path: "/nothing"}
	text := strconv.FormatUint(want, 10)
	for limit := time.Now().Add(8 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		a, b, err := r.pair.do(q)
		if err != nil {
			return err
		}
		r.count.count(q, a, 0)
		x, y := a.head.Get("X-Etcd-Index"), b.head.Get("X-Etcd-Index")
		if x == text && y == text {
			r.gen.index = want
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("after all that was to end, etcd's index is %s and cairn's %s, not %s%s", x, y, text, r.history(q))
		}
	}
}

// reset lets what has a short time to live end without comparing when, which is all that can be done if the machine
// was so slow that the order is open.
func (r *run) reset(took time.Duration) error {
	time.Sleep(3*time.Second + took)
	q := &request{method: "GET", target: "/v2/keys/nothing", path: "/nothing"}
	a, b, err := r.pair.do(q)
	if err != nil {
		return err
	}
	r.count.count(q, a, 0)
	if x, y := a.head.Get("X-Etcd-Index"), b.head.Get("X-Etcd-Index"); x != y {
		return fmt.Errorf("the machine is too slow: the servers cannot be compared any more (indexes %s and %s)", x, y)
	}
	r.watches.closeAll()
	return nil
}
