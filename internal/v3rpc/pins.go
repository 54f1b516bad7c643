package v3rpc

import (
	"sync"

	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

// pins remembers the views that first pages were read from. A client that pages through a range at a fixed revision, as
// Kubernetes does, then finds its revision as a whole, with its counts, however much was written since. Without a pin
// an old revision is put together key by key.
type pins struct {
	mu    sync.Mutex
	views []mvcc.View // the latest use comes last
}

const (
	maxPins   = 8
	maxPinAge = 200_000 // revisions; a pin keeps the records alive that were overwritten since
)

func newPins() *pins { return &pins{} }

// read answers q from v, or from a pinned view of the revision it asks for.
func (p *pins) read(v mvcc.View, q *wire.RangeRequest) (mvcc.Result, error) {
	if q.Revision > 0 && q.Revision < v.Rev() {
		if err := v.CheckRev(q.Revision); err != nil {
			return mvcc.Result{Rev: v.Rev()}, err
		}
		if old, ok := p.find(q.Revision); ok {
			res, err := old.Range(q)
			res.Rev = v.Rev()
			return res, err
		}
	}
	res, err := v.Range(q)
	if err == nil && res.More && (q.Revision <= 0 || q.Revision == v.Rev()) {
		p.keep(v)
	}
	return res, err
}

func (p *pins) find(rev int64) (mvcc.View, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, v := range p.views {
		if v.Rev() == rev {
			copy(p.views[i:], p.views[i+1:])
			p.views[len(p.views)-1] = v
			return v, true
		}
	}
	return mvcc.View{}, false
}

func (p *pins) keep(v mvcc.View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, o := range p.views {
		if o.Rev() == v.Rev() {
			return
		}
		if v.Rev()-o.Rev() <= maxPinAge {
			p.views[n] = o
			n++
		}
	}
	if n == maxPins {
		copy(p.views, p.views[1:])
		n--
	}
	clear(p.views[n:])
	p.views = append(p.views[:n], v)
}
