package golden

import (
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// run compares two servers over one sequence of requests.
type run struct {
	seed        uint64
	etcd, cairn *side
	gen         *generator
	known       []known
	watches     *watches                      // nil without watches
	forget      func(req, resp proto.Message) // removes what the other server's version does not have
	crashEvery  int                           // requests; 0 for never

	index       int
	crashed     bool
	done        map[string]int // requests by method and outcome
	differences []difference   // that nobody knows
	seen        map[string]int // known ones, by name
	last        []string       // the requests before, for the report
}

const (
	mostDifferences = 12 // a run that found so many has said enough
	remembered      = 12 // requests that a report shows before the difference
)

func newRun(seed uint64, etcd, cairn *side, set settings, ks []known) (*run, error) {
	r := &run{seed: seed, etcd: etcd, cairn: cairn, gen: newGenerator(seed, set), known: ks, done: map[string]int{}, seen: map[string]int{},
		watches: &watches{etcd: etcd, cairn: cairn}}
	return r, r.watches.open()
}

// finish compares what the watchers still have to deliver.
func (r *run) finish() error {
	defer r.watches.close()
	return r.watches.settle(r.gen.rev)
}

// step makes one request and compares. It returns an error when the run cannot go on.
func (r *run) step() error {
	o := r.gen.request()
	r.index++
	if r.crashEvery > 0 && r.index%r.crashEvery == 0 {
		if err := r.crash(); err != nil {
			return err
		}
	}
	if r.watches != nil {
		if r.gen.one(20) {
			if err := r.watchStep(); err != nil {
				return err
			}
		}
		// A watcher that is behind may or may not be overtaken by a compaction: nobody may be behind.
		if o.method == compact {
			if err := r.synced(); err != nil {
				return err
			}
		}
	}
	var a, b answer
	for try := 0; ; try++ {
		a, b = r.both(o)
		// Compaction goes on behind its answer, and a hash may tell how far it is.
		if o.method != hashKV || try == 40 || same(o, a, b, r.forget) || r.knows(&difference{op: o, etcd: a, cairn: b, crashed: r.crashed}) != "" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.note(o, a)
	if !same(o, a, b, r.forget) {
		r.report(difference{index: r.index, op: o, etcd: a, cairn: b, crashed: r.crashed})
	}
	for _, s := range []*side{r.etcd, r.cairn} {
		if !s.alive() {
			return fmt.Errorf("golden: %s ended at request %s:\n%s", s.server.Program.Kind, o, s.server.LogTail())
		}
	}
	if len(r.differences) >= mostDifferences {
		return fmt.Errorf("golden: too many differences")
	}
	before := r.gen.rev
	r.gen.learn(o, a, b)
	if x, y := headerRevision(a), headerRevision(b); x != y && x != 0 {
		return fmt.Errorf("golden: after %s etcd is at revision %d (before: %d) and cairn at %d", o, x, before, y)
	}
	return nil
}

// both sends the request to both servers at once.
func (r *run) both(o *op) (a, b answer) {
	x, y := o.bodies()
	got := make(chan answer)
	go func() { got <- r.etcd.do(o, x) }()
	b = r.cairn.do(o, y)
	return <-got, b
}

func (r *run) note(o *op, a answer) {
	outcome := "ok"
	if a.err != nil {
		outcome = a.err.Code().String()
	}
	name := o.method[strings.LastIndexByte(o.method, '/')+1:]
	if o.raw != nil {
		name += " (damaged)"
	}
	r.done[name+" "+outcome]++
	r.last = append(r.last, fmt.Sprintf("#%d %s\n      -> %s", r.index, o, a))
	if len(r.last) > remembered {
		r.last = r.last[1:]
	}
}

func (r *run) report(d difference) {
	if name := r.knows(&d); name != "" {
		r.seen[name]++
		return
	}
	r.differences = append(r.differences, d)
}

// knows is the name of the known difference that d is, or "".
func (r *run) knows(d *difference) string {
	for _, k := range r.known {
		if k.match(d) {
			return k.name
		}
	}
	return ""
}

func headerRevision(a answer) int64 {
	if a.err != nil {
		return 0
	}
	if h, ok := a.msg.(interface{ GetHeader() *pb.ResponseHeader }); ok {
		return h.GetHeader().GetRevision()
	}
	return 0
}
