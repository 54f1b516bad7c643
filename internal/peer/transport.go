// Package peer is the transport between the members of a cluster. It speaks the protocol that etcd's members speak among
// each other, byte for byte, so that a cluster may be made of both.
//
// Each member dials each other member for what that one has to say: one stream of log entries and one of all other
// messages, both endless answers to an HTTP request. What finds no stream is posted. Database images are posted, too.
//
// It must never know what a message means, who leads, or what the log holds. It keeps nothing: what cannot be sent soon is
// dropped, and raft is told.
//
// The bytes are drawn in docs/format/peer.md.
package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Config is what a Transport is made from.
type Config struct {
	ID, ClusterID cluster.ID
	// PeerURLs are this member's own, sent along so that a member that does not know this one yet can answer.
	PeerURLs []string
	// Version and MinClusterVersion are semantic versions in full, such as 3.7.3 and 3.0.0: etcd's members panic at
	// others, so New does.
	Version, MinClusterVersion string

	Raft   Raft
	Member Member
	TLS    func() *tls.Config // for dialing once, which may change it; nil for what Go does by itself

	// DialTimeout is 2 s if it is zero: etcd's is 1 s and the election timeout, which is 1 s by default.
	DialTimeout time.Duration
	// ReadTimeout and WriteTimeout bound the time without a byte on a connection; etcd's are 5 s, and so are these if
	// they are zero. A stream that is idle gets a heartbeat every third of ReadTimeout.
	ReadTimeout, WriteTimeout time.Duration

	Logger  *slog.Logger // nil for none
	Metrics *Metrics     // nil for none
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.DialTimeout, 2*time.Second)
	set(&c.ReadTimeout, 5*time.Second)
	set(&c.WriteTimeout, 5*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

const (
	// maxRemotes bounds the peers that are no members here but have made themselves known. The one that was needed least
	// recently goes first.
	maxRemotes = 64
	// maxImages bounds the images that are sent at a time.
	maxImages = 16
)

var errStopped = errors.New("peer: stopped")

// Transport connects one member with the others. Its methods may be called from any goroutine.
type Transport struct {
	cfg     Config
	me      *identity
	log     *slog.Logger
	ctx     context.Context
	cancel  context.CancelFunc
	streams *road
	posts   *road
	images  *road
	sending chan struct{} // a token for each image that is sent
	serving limits
	warned  atomic.Int64 // when warn has last logged, in ns

	sent, received traffic // of append messages

	// peers are members and remotes. The map is never changed, only replaced, with mu held.
	peers atomic.Pointer[map[cluster.ID]*peer]

	mu      sync.Mutex
	stopped bool
	cuts    map[cluster.ID]bool
	wg      sync.WaitGroup // of all goroutines and requests being answered
}

// New makes a Transport without peers. It starts no goroutine; peers have theirs, and each request that is answered.
func New(cfg Config) *Transport {
	cfg = cfg.withDefaults()
	me, err := newIdentity(&cfg)
	if err != nil {
		panic(fmt.Sprintf("expected versions that every member can read: %v", err))
	}
	t := &Transport{cfg: cfg, me: me, cuts: map[cluster.ID]bool{}, sending: make(chan struct{}, maxImages), serving: newLimits(),
		log: cfg.Logger.With("logger", "peer", "local-member-id", cfg.ID.String())}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	common := roadConfig{tls: cfg.TLS, dial: cfg.DialTimeout, write: cfg.WriteTimeout}
	streams, posts, images := common, common, common
	streams.read, streams.readBuffer = cfg.ReadTimeout, readBuffer
	posts.reuse = true
	images.answer = imageKept
	t.streams, t.posts, t.images = newRoad(streams), newRoad(posts), newRoad(images)
	t.peers.Store(&map[cluster.ID]*peer{})
	return t
}

// SetPeers makes the members the peers, but for this member itself: new ones are dialed, changed ones get their new
// addresses, and what others there were are let go. It does not wait for their goroutines, which end on their own.
func (t *Transport) SetPeers(members []cluster.Member) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	old := *t.peers.Load()
	next := make(map[cluster.ID]*peer, len(members))
	for _, m := range members {
		if m.ID == t.cfg.ID || next[m.ID] != nil {
			continue
		}
		p := old[m.ID]
		if p == nil || p.temporary {
			p = newPeer(t, m.ID, false)
			p.log.Info("added remote peer", "remote-peer-urls", m.PeerURLs)
		}
		if p.addrs.set(parseURLs(m.PeerURLs)) && p == old[m.ID] {
			p.log.Info("updated remote peer", "updated-remote-peer-urls", m.PeerURLs)
		}
		next[m.ID] = p
	}
	var gone, added []*peer
	for id, p := range old {
		switch {
		case next[id] == p:
		case p.temporary && next[id] == nil:
			next[id] = p
		default:
			gone = append(gone, p)
		}
	}
	for id, p := range next {
		if old[id] != p {
			added = append(added, p)
		}
	}
	t.peers.Store(&next)
	for _, p := range gone {
		p.stop()
	}
	for _, p := range added {
		p.start()
	}
}

// remember keeps the addresses of somebody who is no member here, and has spoken to this member: the membership may be
// older here than there. Only posts are sent to a remote, and no goroutine waits for it.
func (t *Transport) remember(id cluster.ID, urls []string) {
	known := t.peer(id)
	if id == 0 || id == t.cfg.ID || known != nil && !known.temporary || t.cfg.Raft.Removed(id) {
		return
	}
	parsed := parseURLs(urls)
	if len(parsed) == 0 {
		return
	}
	if known != nil {
		known.addrs.set(parsed)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped || t.peer(id) != nil {
		return
	}
	next := maps.Clone(*t.peers.Load())
	var oldest *peer
	count := 0
	for _, p := range next {
		if p.temporary {
			if count++; oldest == nil || p.used.Load() < oldest.used.Load() {
				oldest = p
			}
		}
	}
	if count >= maxRemotes {
		delete(next, oldest.id)
		oldest.stop()
	}
	p := newPeer(t, id, true)
	p.addrs.set(parsed)
	p.used.Store(time.Now().UnixNano())
	next[id] = p
	t.peers.Store(&next)
	p.log.Info("added new remote peer", "remote-peer-urls", p.addrs.list())
}

func (t *Transport) peer(id cluster.ID) *peer { return (*t.peers.Load())[id] }

// Send gives messages to the streams of their receivers. It never waits. A message is dropped if its receiver is not
// known, or, with a word to Raft.Unreachable, if too much waits for it already: see link and posts for the bounds. The
// messages must not be changed afterwards.
func (t *Transport) Send(msgs []*raftpb.Message) {
	peers := *t.peers.Load()
	var touched [8]*link
	n := 0
	for _, m := range msgs {
		p := peers[cluster.ID(m.GetTo())]
		if p == nil || p.cut.Load() {
			continue
		}
		l := p.send(m)
		if l == nil || slices.Contains(touched[:n], l) {
			continue
		}
		if n == len(touched) {
			l.poke()
			continue
		}
		touched[n] = l
		n++
	}
	// Writers are woken when all is there: a run of messages for one peer makes one write.
	for _, l := range touched[:n] {
		l.poke()
	}
}

// ActiveSince is when a peer became active, false if it is not.
func (t *Transport) ActiveSince(id cluster.ID) (time.Time, bool) {
	p := t.peer(id)
	if p == nil {
		return time.Time{}, false
	}
	s := p.status.get()
	return s.ActiveSince, s.Active
}

// LacksV2 returns a peer that does not know entries of the v2 API: they would end it. One that was never heard of is taken to
// know them.
func (t *Transport) LacksV2() (cluster.ID, bool) {
	for _, p := range *t.peers.Load() {
		if p.lacksV2.Load() {
			return p.id, true
		}
	}
	return 0, false
}

// WithoutLimits returns a peer that would let pass what a quota refuses, and else one that was never heard of and so may be
// one: silent tells which.
func (t *Transport) WithoutLimits() (id cluster.ID, silent, found bool) {
	for _, p := range *t.peers.Load() {
		switch {
		case p.limits.Load():
		case p.heard.Load():
			return p.id, false, true
		default:
			id, silent, found = p.id, true, true
		}
	}
	return id, silent, found
}

// Peers tells about every peer, by ID.
func (t *Transport) Peers() []Status {
	var out []Status
	for _, p := range *t.peers.Load() {
		s := p.status.get()
		s.ID, s.Temporary, s.URLs = p.id, p.temporary, p.addrs.list()
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return out
}

// Pause drops every message to and from a member, but closes no connection; with cut false it no longer does. For tests.
func (t *Transport) Pause(id cluster.ID, cut bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cuts[id] = cut
	if p := t.peer(id); p != nil {
		p.cut.Store(cut)
	}
}

// Stop ends every goroutine and waits for them. Requests that are being answered are ended, too; later ones are refused.
func (t *Transport) Stop() {
	t.mu.Lock()
	if !t.stopped {
		t.stopped = true
		t.cancel()
		for _, p := range *t.peers.Load() {
			p.stop()
		}
		t.peers.Store(&map[cluster.ID]*peer{})
	}
	t.mu.Unlock()
	t.wg.Wait()
	t.streams.close()
	t.posts.close()
	t.images.close()
}

// enter counts a request as being answered, false if there is no time for it any more.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return false
	}
	t.wg.Add(1)
	return true
}

// spawn runs f on a goroutine that Stop waits for. It does nothing when the Transport has stopped.
func (t *Transport) spawn(f func()) bool {
	if !t.enter() {
		return false
	}
	go func() {
		defer t.wg.Done()
		f()
	}()
	return true
}
