package golden2

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// counters compare what /v2/stats/store counts.
type counters struct {
	r            *run
	etcd         map[string]int64 // as they were when counting began
	cairn        map[string]int64
	refused      int64 // answers that etcd may take for a success
	blocked      int64 // answers that etcd may count twice, once as a set
	inner        int64 // updates of members, which etcd counts
	read, missed int64 // by clients: etcd counts its own reads of who may do what, too
}

func newCounters(r *run) *counters { return &counters{r: r} }

var storeStats = &request{method: "GET", target: "/v2/stats/store"}

var fieldName = regexp.MustCompile(`"[a-zA-Z]+":`)

func (c *counters) fetch() (etcd, cairn map[string]int64, err error) {
	a, b, err := c.r.pair.do(storeStats)
	if err != nil {
		return nil, nil, err
	}
	x, err := header(a.head)
	if err != nil {
		return nil, nil, err
	}
	if y, err := header(b.head); err != nil || x != y {
		return nil, nil, fmt.Errorf("%s: headers\n%s\nnot\n%s %w", storeStats, y, x, err)
	}
	if x, y := fieldName.FindAllString(a.body, -1), fieldName.FindAllString(b.body, -1); strings.Join(x, "") != strings.Join(y, "") {
		return nil, nil, fmt.Errorf("%s: fields %v, not %v", storeStats, y, x)
	}
	if err := json.Unmarshal([]byte(a.body), &etcd); err != nil {
		return nil, nil, err
	}
	return etcd, cairn, json.Unmarshal([]byte(b.body), &cairn)
}

// begin counts anew from here.
func (c *counters) begin() (err error) {
	c.etcd, c.cairn, err = c.fetch()
	c.refused, c.blocked, c.inner, c.read, c.missed = 0, 0, 0, 0, 0
	return err
}

// count takes notice of an answer.
func (c *counters) count(q *request, a *answer, code int) {
	if q.path == "" {
		if q.method == "PUT" && a.status == http.StatusNoContent {
			c.inner++
		}
		return
	}
	if index := a.head.Get("X-Etcd-Index"); (q.method == "GET" || q.method == "HEAD") && index != "" && index != "0" {
		if a.status == http.StatusOK {
			c.read++
		} else {
			c.missed++
		}
	}
	switch code {
	case 101, 102, 107:
		c.refused++
	case 104:
		c.blocked++
	}
}

// check compares how far the counters have come. Watchers go a moment after their connections do.
func (c *counters) check() error {
	var err error
	for range 100 {
		var a, b map[string]int64
		if a, b, err = c.fetch(); err != nil {
			return err
		}
		if err = c.compare(a, b); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

func (c *counters) compare(a, b map[string]int64) error {
	more := int64(0)
	if ok, fail := b["getsSuccess"]-c.cairn["getsSuccess"], b["getsFail"]-c.cairn["getsFail"]; ok != c.read || fail != c.missed {
		return fmt.Errorf("%s: gets were counted as %d and %d, and there were %d and %d", storeStats, ok, fail, c.read, c.missed)
	}
	for _, op := range []string{"sets", "delete", "update", "create", "compareAndSwap", "compareAndDelete"} {
		ok, fail := op+"Success", op+"Fail"
		aOK, bOK, aFail, bFail := a[ok]-c.etcd[ok], b[ok]-c.cairn[ok], a[fail]-c.etcd[fail], b[fail]-c.cairn[fail]
		if op == "update" {
			aOK -= c.inner
		}
		if twice := aFail - bFail; op == "sets" && twice > 0 && twice <= c.blocked {
			c.r.saw(noFailedSet)
			aFail = bFail
		}
		extra := aOK - bOK
		if aOK+aFail != bOK+bFail || extra < 0 || extra > 0 && (op == "sets" || op == "create") {
			return fmt.Errorf("%s: %s were counted as %d and %d, not %d and %d", storeStats, op, bOK, bFail, aOK, aFail)
		}
		more += extra
	}
	if more > c.refused {
		return fmt.Errorf("%s: etcd counts %d more successes, and only %d were refused", storeStats, more, c.refused)
	}
	if more > 0 {
		c.r.saw(refusedFails)
	}
	if x, y := a["expireCount"]-c.etcd["expireCount"], b["expireCount"]-c.cairn["expireCount"]; x != y {
		return fmt.Errorf("%s: %d nodes have expired, not %d", storeStats, y, x)
	}
	if silent := int64(c.r.watches.silent()); a["watchers"]+silent != b["watchers"] {
		return fmt.Errorf("%s: %d watchers, not %d; %d are open, %d of them silent: %v", storeStats, b["watchers"], a["watchers"],
			len(c.r.watches.open), silent, c.r.watches.open)
	}
	return nil
}
