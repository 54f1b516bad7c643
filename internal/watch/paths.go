package watch

import (
	"errors"
	"strings"
	"sync"

	"github.com/tidwall/btree"

	"github.com/cairn-kv/cairn/internal/tree"
)

// TreeSource gives a path watcher the state that it reads history from.
type TreeSource interface{ Tree() *tree.View }

// pathQueue is how many events wait for one watcher of a path (W-40). Who lets more come is dropped.
const pathQueue = 100

// ErrDropped is what a watcher of a path is told when it was too slow, or when the state was replaced under it: the client
// has to look again from the beginning.
var ErrDropped = errors.New("watch: the watcher was dropped")

// Paths fans the events of the v2 tree out to those who watch its paths. Publish is called by the apply queue; it waits for
// nobody, and costs as much as the path is deep and as many watchers as it has to tell.
type Paths struct {
	source TreeSource

	mu    sync.Mutex
	index uint64                          // up to which events were published
	exact map[string]map[*Waiter]struct{} // by path
	deep  map[string]map[*Waiter]struct{} // recursive ones, by path
	all   btree.Set[string]               // paths that are watched, for what goes with a directory
	n     int
}

// NewPaths makes a hub at an index.
func NewPaths(source TreeSource, index uint64) *Paths {
	return &Paths{source: source, index: index, exact: map[string]map[*Waiter]struct{}{}, deep: map[string]map[*Waiter]struct{}{}}
}

// Waiter is one client's wait for events of a path.
type Waiter struct {
	hub       *Paths
	path      string
	recursive bool
	next      uint64 // events below it were delivered, or are not wanted

	events  []*tree.Event // that wait to be taken; under the hub's mutex
	dropped bool
	behind  bool // history has more for it, up to the present
	wake    chan struct{}
}

// Watch begins to wait for events of a path from an index on, 0 for those to come. What history holds is delivered first.
// The index returned is that of the state at this moment.
func (p *Paths) Watch(path string, recursive bool, from uint64) (*Waiter, uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.source.Tree()
	w := &Waiter{hub: p, path: path, recursive: recursive, next: from, wake: make(chan struct{}, 1)}
	if from == 0 {
		w.next = v.Index + 1
	}
	if err := w.recall(v); err != nil {
		return nil, v.Index, err
	}
	by := p.exact
	if recursive {
		by = p.deep
	}
	if by[path] == nil {
		by[path] = map[*Waiter]struct{}{}
		p.all.Insert(path)
	}
	by[path][w] = struct{}{}
	p.n++
	if len(w.events) > 0 {
		w.wake <- struct{}{}
	}
	return w, v.Index, nil
}

// recall takes events from history, as many as may wait. If there are more, the watcher stays behind: the rest is recalled
// when these have been taken.
func (w *Waiter) recall(v *tree.View) error {
	for w.next <= v.Index && len(w.events) < pathQueue {
		e, err := v.Search(w.path, w.recursive, w.next)
		if err != nil {
			return err
		}
		if e == nil {
			w.next = v.Index + 1
			break
		}
		w.events = append(w.events, e)
		w.next = e.Index + 1
	}
	w.behind = w.next <= v.Index
	return nil
}

// Len is the number of watchers.
func (p *Paths) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// Publish hands events on.
func (p *Paths) Publish(events []*tree.Event) {
	if len(events) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range events {
		p.index = e.Index
		if p.n == 0 || e.Refresh || e.Action == tree.Internal {
			continue
		}
		p.tell(e)
	}
}

func (p *Paths) tell(e *tree.Event) {
	path := e.Node.Path
	offer(p.exact[path], e)
	offer(p.deep[path], e)
	for up := path; up != "/"; {
		if up = up[:strings.LastIndexByte(up, '/')]; up == "" {
			up = "/"
		}
		if ws := p.deep[up]; len(ws) > 0 && !tree.Hidden(path, up) {
			offer(ws, e)
		}
	}
	if e.Action.Removes() && e.Node.Dir {
		p.all.Ascend(path+"/", func(under string) bool {
			if !strings.HasPrefix(under, path+"/") {
				return false
			}
			if e.Existed(under) {
				offer(p.exact[under], e)
				offer(p.deep[under], e)
			}
			return true
		})
	}
}

func offer(ws map[*Waiter]struct{}, e *tree.Event) {
	for w := range ws {
		if e.Index < w.next || w.dropped || w.behind {
			continue
		}
		if len(w.events) >= pathQueue {
			w.drop()
			continue
		}
		w.events = append(w.events, e)
		w.signal()
	}
}

// Reset drops all watchers: the state was replaced, and nobody knows what happened in between.
func (p *Paths) Reset(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.index = index
	for _, by := range []map[string]map[*Waiter]struct{}{p.exact, p.deep} {
		for _, ws := range by {
			for w := range ws {
				w.drop()
			}
		}
	}
}

func (w *Waiter) drop() {
	w.dropped, w.events = true, nil
	w.signal()
}

func (w *Waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Wake holds a token while there may be events to take.
func (w *Waiter) Wake() <-chan struct{} { return w.wake }

// Take returns the events that have come, in index order.
func (w *Waiter) Take() ([]*tree.Event, error) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if w.dropped {
		return nil, ErrDropped
	}
	e := w.events
	w.events = nil
	if w.behind {
		if err := w.recall(w.hub.source.Tree()); err != nil {
			w.drop()
		} else if len(w.events) > 0 {
			w.signal()
		}
	}
	return e, nil
}

// Close ends the wait.
func (w *Waiter) Close() {
	p := w.hub
	p.mu.Lock()
	defer p.mu.Unlock()
	by, other := p.exact, p.deep
	if w.recursive {
		by, other = other, by
	}
	if _, ok := by[w.path][w]; !ok {
		return
	}
	p.n--
	delete(by[w.path], w)
	if len(by[w.path]) == 0 {
		delete(by, w.path)
		if len(other[w.path]) == 0 {
			p.all.Delete(w.path)
		}
	}
}
