package measure

import (
	"context"

	"github.com/cairn-kv/cairn/bench/report"
)

// measurement does a work once and takes its figures.
type measurement func(ctx context.Context, s *subject) (report.Sample, error)

// row is one line of the table.
type row struct {
	work    string
	targets []report.Target
	measure measurement
	once    bool // in the first round only: what it sees is not there again
}

// scene is a pair of servers and what is measured on them.
type scene struct {
	prepare func(ctx context.Context, s *subject) error
	rows    []row
	copies  bool   // each round has a copy of what prepare left: the rows use it up
	then    *scene // goes on with the same servers
	members int    // of a cluster that each round starts anew, 0 for one server
	v2      bool   // the servers have the v2 API
	secure  bool   // the servers have a URL with TLS besides
}

// selected is the scene with those rows that want says, or nil if nothing of it is left.
func (sc *scene) selected(want func(work string) bool) *scene {
	if sc == nil {
		return nil
	}
	c := *sc
	c.rows = nil
	for _, r := range sc.rows {
		if want(r.work) {
			c.rows = append(c.rows, r)
		}
	}
	c.then = sc.then.selected(want)
	if len(c.rows) == 0 && c.then == nil {
		return nil
	}
	return &c
}
