package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

// treeClient changes and reads the tree of the v2 API at any member. What it is told must hold everything that anybody was
// told before it asked.
type treeClient struct {
	s     *system
	w     *world
	m     *member // asked last
	n     int
	ask   int // counts questions; answers to any but the last are ignored
	since time.Duration
	busy  bool
	seen  uint64 // the index of a refused or successful answer, for conditions
}

var treeDirs = []string{"/d0", "/d1", "/d2"}

func (c *treeClient) run() {
	if c.s.calm {
		return
	}
	c.w.after(c.w.between(5*time.Millisecond, 4*c.s.plan.think), c.run)
	m := c.s.anyone(c.m)
	if m == nil || c.busy && c.w.now-c.since < requestTimeout {
		return
	}
	c.m = m
	m.enter(m.life, func() error {
		switch p := c.w.rng.IntN(100); {
		case p < 25:
			c.read(m)
		case p < 35:
			c.peek(m)
		default:
			c.change(m)
		}
		return m.pump()
	})
}

// begin opens a question. The function it returns tells whether an answer is still waited for.
func (c *treeClient) begin() (floor uint64, answered func() bool) {
	c.ask++
	c.busy, c.since = true, c.w.now
	ask := c.ask
	return c.s.truth.tree.acked, func() bool {
		if c.ask != ask || !c.busy {
			return false
		}
		c.busy = false
		return true
	}
}

func (c *treeClient) path() string {
	if c.w.chance(10) {
		return pick(c.w, treeDirs)
	}
	return fmt.Sprintf("/d%d/n%d", c.w.rng.IntN(3), c.w.rng.IntN(4))
}

// draw chooses a change.
func (c *treeClient) draw(now int64) wire.V2Request {
	q := wire.V2Request{Method: wire.V2Put, Path: "/1" + c.path(), Val: fmt.Sprint(c.w.rng.IntN(5))}
	if c.w.chance(30) {
		q.Expiration = now + int64(c.w.span(8*time.Second))
		if c.w.chance(50) {
			q.Expiration -= q.Expiration % int64(time.Second) // several end at once
		}
	}
	switch c.w.rng.IntN(12) {
	case 0:
		q.PrevValue = fmt.Sprint(c.w.rng.IntN(5))
	case 1:
		q.PrevIndex = c.seen
	case 2:
		q.PrevExist = new(c.w.chance(50))
	case 3:
		q.Dir, q.Val = true, ""
		q.PrevExist = pick(c.w, []*bool{nil, new(true), new(false)})
	case 4:
		q.PrevExist, q.Refresh, q.Val = new(true), true, ""
	case 5:
		q = wire.V2Request{Method: wire.V2Post, Path: "/1/queue", Val: "job", Expiration: q.Expiration}
	case 6:
		q = wire.V2Request{Method: wire.V2Delete, Path: "/1" + c.path(), Dir: c.w.chance(30)}
	case 7:
		q = wire.V2Request{Method: wire.V2Delete, Path: "/1" + c.path(), PrevValue: fmt.Sprint(c.w.rng.IntN(5))}
	case 8:
		q = wire.V2Request{Method: wire.V2Delete, Path: "/1" + pick(c.w, append(treeDirs, "/queue")), Dir: true, Recursive: true}
	}
	return q
}

func (c *treeClient) change(m *member) {
	q := c.draw(m.wall())
	floor, answered := c.begin()
	m.enqueue(&ticket{data: m.command(wire.KindV2, q.Append(nil)), id: c.s.requests, done: func(r machine.Result) {
		if !answered() {
			return
		}
		c.s.rep.TreeChanges++
		var refused *tree.Error
		index := uint64(0)
		switch {
		case r.Event != nil:
			index = r.Event.Index
			if index <= floor {
				fail("v2 order", "a change through %v has index %d, but %d was known before it was asked for", m, index, floor)
			}
		case errors.As(r.Err, &refused):
			index = refused.Index
			if index < floor {
				fail("v2 order", "a change through %v is refused at index %d, but %d was known before it was asked for", m, index, floor)
			}
		default:
			fail("v2 order", "a change is answered by neither an event nor a refusal: %v", r.Err)
		}
		c.seen = index
		c.s.truth.tree.acked = max(c.s.truth.tree.acked, index)
	}})
}

// read reads with quorum.
func (c *treeClient) read(m *member) {
	floor, answered := c.begin()
	m.read(func(v *machine.View) {
		if !answered() {
			return
		}
		c.s.rep.TreeReads++
		if v.Tree.Index < floor {
			fail("v2 order", "%v is read at index %d, but %d was known before", m, v.Tree.Index, floor)
		}
		c.compare(m, v)
		c.s.truth.tree.acked = max(c.s.truth.tree.acked, v.Tree.Index)
	})
}

// peek reads what the member has at hand.
func (c *treeClient) peek(m *member) {
	v := m.machine.View()
	if v.Tree.Index < m.shownTree {
		fail("v2 order", "%v shows index %d, and has shown %d before", m, v.Tree.Index, m.shownTree)
	}
	m.shownTree = v.Tree.Index
	c.compare(m, v)
}

// compare looks at a key and a directory of a view, and at how far back it remembers.
func (c *treeClient) compare(m *member, view *machine.View) {
	checkMirror(m, view)
	v := view.Tree
	model := c.s.truth.tree
	path := c.path()
	var got tree.Node
	if n, err := v.Get(path); err == nil {
		got = *n
	}
	if want := model.at(path, v.Index); got != want {
		fail("v2 state", "%v shows %+v at index %d, which was %+v", m, got, v.Index, want)
	}
	dir := pick(c.w, treeDirs)
	var listed []tree.Node
	v.Each(dir, true, func(n *tree.Node, _ int) bool {
		listed = append(listed, *n)
		return true
	})
	slices.SortFunc(listed, func(a, b tree.Node) int { return strings.Compare(a.Path, b.Path) })
	if want := model.list(dir, v.Index); !slices.Equal(listed, want) {
		fail("v2 state", "%v lists %+v in %s at index %d, which was %+v", m, listed, dir, v.Index, want)
	}
	if v.Index <= tree.Window {
		return
	}
	oldest := v.Index - tree.Window + 1
	if _, err := v.Search("/", true, oldest); err != nil {
		fail("v2 window", "%v does not remember %d at index %d: %v", m, oldest, v.Index, err)
	}
	var cleared *tree.Error
	if _, err := v.Search("/", true, oldest-1); !errors.As(err, &cleared) || cleared.Code != tree.CodeCleared {
		fail("v2 window", "%v remembers %d at index %d", m, oldest-1, v.Index)
	}
}

// moveMirror mirrors the tree below another prefix, or not at all.
func (s *system) moveMirror(m *member) {
	q := wire.V2Request{Method: wire.V2Put, Path: machine.MirrorRecord, Val: pick(s.w, []string{"", "v2", "/m"})}
	m.enqueue(&ticket{data: m.command(wire.KindV2, q.Append(nil)), id: m.s.requests})
}

// checkMirror compares the keys of the tree with those that the keyspace has of it.
func checkMirror(m *member, v *machine.View) {
	want := map[string]string{}
	if v.Mirror != "" {
		v.Tree.All(func(n *tree.Node) bool {
			if !n.Dir {
				want[v.Mirror+n.Path] = n.Value
			}
			return true
		})
	}
	for _, r := range []wire.Range{{Lo: "v2/", Hi: "v20"}, {Lo: "/m/", Hi: "/m0"}} {
		v.KV.Each(r, func(kv wire.KV) bool {
			value, ok := want[kv.Key()]
			if f := kv.Fields(); !ok || value != f.Value {
				fail("v2 mirror", "%v: with the mirror at %q, %q is %q and not %q", m, v.Mirror, kv.Key(), f.Value, value)
			}
			delete(want, kv.Key())
			return true
		})
	}
	if len(want) > 0 {
		fail("v2 mirror", "%v: the mirror at %q lacks %v", m, v.Mirror, sortedKeys(want))
	}
}

// wall is the member's time of day, in nanoseconds of unix time.
func (m *member) wall() int64 { return tree.Permanent + int64(float64(m.w.now)*m.clock.rate) }

// Tree lets watchers of paths read history.
func (m *member) Tree() *tree.View { return m.machine.View().Tree }

// syncTree asks for the end of what is over in the tree, as a leader does now and then.
func (m *member) syncTree() {
	if now := m.wall(); !m.s.bad.NoTreeSync && m.Tree().Due(now) {
		q := wire.V2Request{Method: wire.V2Sync, Time: now}
		m.enqueue(&ticket{data: m.command(wire.KindV2, q.Append(nil)), id: m.s.requests})
	}
}

// waiter is a client that waits for changes of a path, across crashes and members: it comes back with the index behind the
// last one it has seen. Each event that arrives has to be the next one that really was.
type waiter struct {
	s         *system
	w         *world
	n         int
	m         *member
	life      int // of the member that it waits at, 0 if it does not
	wait      *watch.Waiter
	path      string
	recursive bool
	next      uint64 // index to go on from
}

func newWaiter(s *system, n int) *waiter {
	x := &waiter{s: s, w: s.w, n: n, next: 1, path: "/", recursive: true}
	switch {
	case n == 0:
	case s.w.chance(50):
		x.path = pick(s.w, treeDirs)
	default:
		x.path, x.recursive = fmt.Sprintf("/d%d/n%d", s.w.rng.IntN(3), s.w.rng.IntN(4)), s.w.chance(50)
	}
	return x
}

func (x *waiter) run() {
	if x.s.calm {
		return
	}
	pause := x.w.between(time.Millisecond, 200*time.Millisecond)
	if x.w.chance(2) {
		pause = x.w.span(20 * time.Second)
	}
	x.w.after(pause, x.run)
	if x.life == 0 || x.life != x.m.life || x.w.chance(1) {
		x.leave()
		if x.m = x.s.anyone(nil); x.m != nil {
			x.m.enter(x.m.life, func() error { x.connect(); return nil })
		}
		return
	}
	x.m.enter(x.life, func() error { x.take(); return nil })
}

func (x *waiter) leave() {
	if x.life != 0 && x.m.up && x.m.life == x.life {
		x.wait.Close()
	}
	x.life = 0
}

func (x *waiter) connect() {
	wait, index, err := x.m.paths.Watch(x.path, x.recursive, x.next)
	var cleared *tree.Error
	switch {
	case err == nil:
		x.wait, x.life = wait, x.m.life
	case !errors.As(err, &cleared) || cleared.Code != tree.CodeCleared:
		fail("v2 wait", "%v is refused: %v", x, err)
	case x.next+tree.Window > index:
		fail("v2 wait", "%v is told at index %d that %d is cleared", x, index, x.next)
	default:
		x.s.rep.Gaps++
		x.next = index + 1 // it has to look again
	}
}

func (x *waiter) take() {
	events, err := x.wait.Take()
	if err != nil {
		x.life = 0
		return
	}
	for _, e := range events {
		x.event(e)
	}
}

// event checks that an event is the next one.
func (x *waiter) event(e *tree.Event) {
	x.s.rep.TreeEvents++
	model := x.s.truth.tree
	for ; x.next < e.Index && x.next <= model.index(); x.next++ {
		if yes, _ := model.tells(&model.events[x.next-1], x.path, x.recursive); yes {
			fail("v2 wait", "%v is sent %s, but not %s", x, eventText(e), eventText(&model.events[x.next-1]))
		}
	}
	if e.Index != x.next || x.next > model.index() {
		fail("v2 wait", "%v is sent %s with %d to come, and %d events there are", x, eventText(e), x.next, model.index())
	}
	want := &model.events[x.next-1]
	if yes, maybe := model.tells(want, x.path, x.recursive); !yes && !maybe || eventText(e) != eventText(want) {
		fail("v2 wait", "%v is sent %s for %s", x, eventText(e), eventText(want))
	}
	x.next++
}

func (x *waiter) String() string {
	return fmt.Sprintf("waiter %d (%s, recursive %v), at %v", x.n, x.path, x.recursive, x.m)
}

// finish lets what is still on its way arrive.
func (x *waiter) finish() {
	model := x.s.truth.tree
	for range 10000 {
		if x.life == 0 || x.life != x.m.life || !slices.Contains(x.s.present(), x.m) {
			x.leave()
			x.m = x.s.leader()
			x.connect()
		}
		if x.life != 0 {
			x.take()
		}
		missing := false
		for i := x.next; i <= model.index() && !missing; i++ {
			missing, _ = model.tells(&model.events[i-1], x.path, x.recursive)
		}
		if !missing {
			return
		}
	}
	fail("v2 wait", "%v was never sent all from %d on", x, x.next)
}

// checkTreeEnds checks that what is over ends, now that there is a leader in peace.
func (s *system) checkTreeEnds() {
	if !s.until(2*revokeSlack, func() bool { l := s.leader(); return l != nil && !l.Tree().Due(l.wall()-int64(revokeSlack)) }) {
		fail("v2 expiry", "a node's time is over for more than %v", revokeSlack)
	}
}
