package peer

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// peer is one other member, as long as it is one. Its goroutines are two that dial and read its streams, and one that
// probes it; each stream that the other side has opened has two more. They end with ctx. A remote has none of them, and
// is only posted to.
type peer struct {
	t         *Transport
	id        cluster.ID
	temporary bool
	log       *slog.Logger
	ctx       context.Context
	cancel    context.CancelFunc

	addrs   addresses
	status  status
	figures figures
	pace    pace

	app, message atomic.Pointer[link] // the streams to write to; nil while the peer has not opened them
	posts        posts
	image        atomic.Bool // one is being sent
	expelled     atomic.Bool // it was told of
	cut          atomic.Bool
	lacksV2      atomic.Bool  // as of its last stream
	limits       atomic.Bool  // it holds to them, as of its last stream
	heard        atomic.Bool  // it has opened a stream
	used         atomic.Int64 // when a remote was last sent to, in ns
}

// newPeer makes a peer with the Transport's lock held.
func newPeer(t *Transport, id cluster.ID, temporary bool) *peer {
	p := &peer{t: t, id: id, temporary: temporary, log: t.log.With("remote-peer-id", id.String()), figures: t.cfg.Metrics.of(t.cfg.ID, id)}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.posts.p = p
	p.cut.Store(t.cuts[id])
	return p
}

// start starts the goroutines of a member, with the Transport's lock held.
func (p *peer) start() {
	run := func(f func()) {
		p.t.wg.Add(1)
		go func() {
			defer p.t.wg.Done()
			f()
		}()
	}
	run(newInlet(p, streamApp).run)
	run(newInlet(p, streamMessage).run)
	run((&prober{p: p}).run)
}

func (p *peer) stop() {
	p.cancel()
	for _, l := range []*link{p.app.Load(), p.message.Load()} {
		if l != nil {
			l.close()
		}
	}
	p.posts.stop()
	if p.status.deactivate(time.Now(), errStopped) {
		p.figures.active(false)
	}
	p.log.Info("removed remote peer")
}

// send hands a message to a stream, and returns it to be poked, or to the posts.
func (p *peer) send(m *raftpb.Message) *link {
	switch m.GetType() {
	case raftpb.MsgSnap:
		p.dropped(1)
		p.t.cfg.Raft.SnapshotSent(p.id, errors.New("peer: a snapshot is not sent without its image"))
		return nil
	case raftpb.MsgApp:
		if l := p.app.Load(); l != nil && l.push(m) {
			return l
		}
	}
	if l := p.message.Load(); l != nil && l.push(m) {
		return l
	}
	if p.temporary {
		p.used.Store(time.Now().UnixNano())
	}
	p.posts.push(m)
	return nil
}

// dropped counts messages that were not sent, and tells raft.
func (p *peer) dropped(n int) {
	p.figures.notSent(n)
	p.t.cfg.Raft.Unreachable(p.id)
}

// expel passes on that the peer takes this member for removed.
func (p *peer) expel() {
	if p.expelled.CompareAndSwap(false, true) {
		p.log.Error("a peer says that this member was removed from the cluster")
		p.t.cfg.Raft.Expelled(errRemoved)
	}
}
