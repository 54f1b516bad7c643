package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// network carries messages between members. Nothing is shared by those at its ends: what is sent is bytes.
//
// A link keeps the order in which it was given messages, unless it is disordered; it may lose and repeat them. What must
// not be done twice, a proposal above all, is never repeated: a stream over TCP delivers nothing twice.
type network struct {
	s       *system
	quality quality
	slow    time.Duration // by which everything is delayed at most, beside
	links   [][]link      // from, to
}

type link struct {
	cut  int // how many faults cut it
	last time.Duration
}

// grow makes room for one more member.
func (n *network) grow() {
	for i := range n.links {
		n.links[i] = append(n.links[i], link{})
	}
	n.links = append(n.links, make([]link, len(n.links)+1))
}

func (n *network) link(from, to *member) *link { return &n.links[from.n][to.n] }

// connected reports whether two members reach each other.
func (n *network) connected(a, b *member) bool {
	return n.link(a, b).cut == 0 && n.link(b, a).cut == 0
}

// heal removes all cuts and faults.
func (n *network) heal() {
	for i := range n.links {
		for j := range n.links[i] {
			n.links[i][j].cut = 0
		}
	}
	n.quality = quality{least: n.quality.least, most: n.quality.most}
	n.slow = 0
}

// send runs deliver when what it stands for has arrived, if it does.
func (n *network) send(from, to *member, once bool, deliver func()) {
	w := n.s.w
	n.s.rep.Messages++
	l := n.link(from, to)
	if l.cut > 0 || w.chance(n.quality.lose) {
		n.lost(from, to)
		return
	}
	d := w.between(n.quality.least, n.quality.most) + w.span(n.slow)
	switch {
	case w.chance(n.quality.late):
		d += w.span(4 * time.Second)
	case w.chance(n.quality.disorder):
		d *= time.Duration(1 + w.rng.IntN(10))
	default:
		l.last = max(l.last, w.now+d)
		d = l.last - w.now
	}
	arrive := func() {
		if n.link(from, to).cut > 0 || !to.up {
			n.lost(from, to)
			return
		}
		deliver()
	}
	w.after(d, arrive)
	if !once && w.chance(n.quality.repeat) {
		w.after(d+w.span(2*time.Second), arrive)
	}
}

// lost tells the sender sometimes that a message has not arrived.
func (n *network) lost(from, to *member) {
	n.s.rep.Lost++
	if n.s.w.chance(90) {
		return
	}
	from.later(n.s.w.between(time.Millisecond, 20*time.Millisecond), func() error {
		from.node.Unreachable(to.id.ID)
		return from.pump()
	})
}

// message sends a message of raft.
func (n *network) message(from *member, msg *raftpb.Message) {
	to := n.s.member(msg.GetTo())
	if to == nil {
		fail("member", "%v sends to %x, which is nobody", from, msg.GetTo())
	}
	n.s.truth.sent(from, msg)
	from.promised.said(msg)
	data, err := proto.Marshal(msg)
	must(err)
	n.s.w.detail("%v to %v: %v", from, to, msg)
	n.send(from, to, msg.GetType() == raftpb.MsgProp, func() {
		to.enter(to.life, func() error {
			msg := &raftpb.Message{}
			if err := proto.Unmarshal(data, msg); err != nil {
				return err
			}
			return to.receive(msg)
		})
	})
}

// name is what the trace calls a member.
func (s *system) name(id cluster.ID) string {
	if m := s.member(uint64(id)); m != nil {
		return m.String()
	}
	return "nobody"
}

// reportDown tells others soon that nothing listens any more where a member was.
func (s *system) reportDown(gone *member) {
	for _, m := range s.members {
		if m != gone && m.up && s.net.connected(m, gone) && s.w.chance(60) {
			s.w.after(s.w.between(300*time.Microsecond, 5*time.Millisecond), func() { m.enter(m.life, func() error { return m.down(gone) }) })
		}
	}
}

// down reports a member as gone, rightly or not.
func (m *member) down(gone *member) error {
	m.node.Tick(m.local())
	m.node.Down(gone.id.ID)
	return m.pump()
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
