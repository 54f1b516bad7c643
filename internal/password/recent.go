package password

import (
	"sync"
	"time"
)

// recent are marks that were verified not long ago, in two generations: when the young one is full it becomes the old one,
// whose marks are forgotten.
type recent struct {
	mu         sync.Mutex
	most       int
	young, old map[[32]byte]time.Time // when they end
}

func newRecent(most int) *recent {
	return &recent{most: most, young: map[[32]byte]time.Time{}}
}

func (r *recent) has(mark [32]byte, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	end, ok := r.young[mark]
	if !ok {
		if end, ok = r.old[mark]; ok {
			r.put(mark, end)
		}
	}
	return ok && now.Before(end)
}

func (r *recent) add(mark [32]byte, end time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(mark, end)
}

func (r *recent) put(mark [32]byte, end time.Time) {
	if len(r.young) >= r.most {
		r.old, r.young = r.young, make(map[[32]byte]time.Time, r.most)
	}
	r.young[mark] = end
}

const (
	// freeFailures are how many are not punished: people mistype.
	freeFailures = 5
	firstPenalty = 100 * time.Millisecond
	mostPenalty  = 5 * time.Second
	// forgiven is how long after the last failure all are forgotten.
	forgiven     = 10 * time.Minute
	mostPunished = 16384
)

// penalties are how long who was often wrong has to wait.
type penalties struct {
	mu         sync.Mutex
	young, old map[string]failures
}

type failures struct {
	n    int
	last time.Time
}

func newPenalties() *penalties { return &penalties{young: map[string]failures{}} }

// penalty is the longest of those for any of who.
func (p *penalties) penalty(now time.Time, who ...string) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range who {
		f := p.get(now, w)
		if f.n < freeFailures {
			continue
		}
		wait = max(wait, min(mostPenalty, firstPenalty<<min(f.n-freeFailures, 10)))
	}
	return wait
}

func (p *penalties) add(now time.Time, who ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range who {
		if len(p.young) >= mostPunished {
			p.old, p.young = p.young, map[string]failures{}
		}
		p.young[w] = failures{p.get(now, w).n + 1, now}
	}
}

func (p *penalties) forget(who string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.young, who)
	delete(p.old, who)
}

func (p *penalties) get(now time.Time, who string) failures {
	f, ok := p.young[who]
	if !ok {
		f = p.old[who]
	}
	if now.Sub(f.last) > forgiven {
		return failures{}
	}
	return f
}
