package golden

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const (
	mostStreams  = 4
	mostWatchers = 12 // on one stream
)

// watchStep does one thing with the watches.
func (r *run) watchStep() error {
	w, g := r.watches, r.gen
	if len(w.streams) == 0 || (len(w.streams) < mostStreams && g.one(10)) {
		p, err := newPair(r.etcd, r.cairn)
		w.streams = append(w.streams, p)
		return err
	}
	p := pick(g, w.streams...)
	switch n := g.rnd.IntN(100); {
	case n < 55 && len(p.watchers) < mostWatchers:
		r.count("Watch create")
		_, err := p.create(g.watchRequest(), g.compacted)
		return err
	case n < 75 && len(p.watchers) > 0:
		return r.cancelWatch(p)
	case n < 78: // a request that asks for nothing, and one for a watcher that is not there
		r.count("Watch nothing")
		cancel := &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: pick[int64](g, -1, 999, math.MinInt64)}}
		return errors.Join(p.send(&pb.WatchRequest{}), p.send(&pb.WatchRequest{RequestUnion: cancel}))
	case n < 90 && !g.set.old:
		return r.progress(p)
	case n < 93:
		p.close()
		w.streams = slices.DeleteFunc(w.streams, func(x *streamPair) bool { return x == p })
		return p.faults()
	}
	return w.settle(g.rev)
}

func (r *run) count(what string) { r.done[what]++ }

func (g *generator) watchRequest() *pb.WatchCreateRequest {
	q := &pb.WatchCreateRequest{Key: g.key(), PrevKv: g.one(2), Fragment: g.one(3), ProgressNotify: g.one(3)}
	q.RangeEnd = g.end(q.Key)
	if g.one(3) {
		q.Key, q.RangeEnd = pick(g, []byte{0}, []byte("k"), []byte("a")), pick(g, []byte{0}, []byte("l"), []byte("p0"))
	}
	switch g.rnd.IntN(8) {
	case 0, 1, 2:
		q.StartRevision = max(1, g.rev-int64(g.rnd.IntN(80)))
	case 3:
		q.StartRevision = max(1, g.compacted+int64(g.rnd.IntN(5))-2)
	case 4:
		q.StartRevision = g.rev + int64(g.rnd.IntN(30))
	case 5:
		if g.one(3) && !g.set.old {
			q.StartRevision = pick[int64](g, -1, math.MinInt64, math.MaxInt64, 1)
		}
	}
	if g.set.old && q.StartRevision == g.compacted { // compaction in 3.4 takes a deletion at its own revision along
		q.StartRevision++
	}
	if g.one(4) {
		q.WatchId = pick[int64](g, 1, 2, 3, 5, 8, -5, math.MaxInt64)
	}
	if g.one(3) {
		q.Filters = append(q.Filters, pick(g, pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE, 9))
		if g.one(4) {
			q.Filters = append(q.Filters, pick(g, pb.WatchCreateRequest_NOPUT, pb.WatchCreateRequest_NODELETE))
		}
	}
	return q
}

// cancelWatch ends a watcher. Mostly it waits until the watcher has delivered what it must; else the two servers may have
// come to different points, and each must have sent a beginning of the truth.
func (r *run) cancelWatch(p *streamPair) error {
	x := pick(r.gen, p.watchers...)
	calm := !r.gen.one(4)
	r.count("Watch cancel")
	if calm || x.compacted {
		if err := r.watches.settle(r.gen.rev); err != nil {
			return err
		}
	}
	ends := [2]*pb.WatchResponse{x.etcd.canceled, x.cairn.canceled}
	q := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: x.id}}}
	if err := p.send(q); err != nil {
		return err
	}
	for i, s := range []*watchStream{p.etcd, p.cairn} {
		side := []*watcher{x.etcd, x.cairn}[i]
		if !s.await(watchLimit, func() bool { return side.canceled != ends[i] || len(s.faults) > 0 }) {
			return fmt.Errorf("golden: no answer to the cancel of watcher %d (%d: 0 etcd, 1 cairn)", x.id, i)
		}
	}
	if err := p.faults(); err != nil {
		return err
	}
	if !proto.Equal(x.etcd.canceled, x.cairn.canceled) {
		return fmt.Errorf("golden: cancel of watcher %d\n    etcd:  %s\n    cairn: %s", x.id, text(x.etcd.canceled), text(x.cairn.canceled))
	}
	p.watchers = slices.DeleteFunc(p.watchers, func(y *watcherPair) bool { return y == x })
	if calm || x.compacted {
		return nil
	}
	if err := r.watches.settleAll(r.gen.rev); err != nil {
		return err
	}
	n := x.seen
	for at := x.next; at < len(r.watches.history); at++ {
		if !r.watches.owes(x, at) {
			continue
		}
		e := r.watches.history[at]
		for i, side := range []*watcher{x.etcd, x.cairn} {
			if n < len(side.events) && (!proto.Equal(side.events[n].Kv, e.Kv) || side.events[n].Type != e.Type) {
				return fmt.Errorf("golden: canceled watcher %d (%s) event %d (%d: 0 etcd, 1 cairn): %s, expected %s", x.id, text(x.req), n, i, text(side.events[n]), text(e))
			}
		}
		n++
	}
	if len(x.etcd.events) > n || len(x.cairn.events) > n {
		return fmt.Errorf("golden: canceled watcher %d (%s): %d events at most, etcd sent %d, cairn %d", x.id, text(x.req), n, len(x.etcd.events), len(x.cairn.events))
	}
	return nil
}

// progress asks both for stream-wide progress. A server may drop the request while a watcher is behind, so it is repeated;
// a stream without watchers, or with one that compaction has ended or that starts in the future, must not answer.
func (r *run) progress(p *streamPair) error {
	r.count("Watch progress")
	if err := r.watches.settle(r.gen.rev); err != nil {
		return err
	}
	silent := len(p.watchers) == 0 || slices.ContainsFunc(p.watchers, func(x *watcherPair) bool { return x.compacted || x.req.StartRevision > r.gen.rev })
	q := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	was := [2]int{len(p.etcd.progress), len(p.cairn.progress)}
	var came [2]bool
	for try := 0; try < 20 && !(came[0] && came[1]); try++ {
		if silent && try == 2 {
			break
		}
		if err := p.send(q); err != nil {
			return err
		}
		for i, s := range []*watchStream{p.etcd, p.cairn} {
			came[i] = s.await(150*time.Millisecond, func() bool {
				n := len(s.progress)
				return n > was[i] && s.progress[n-1] == r.gen.rev
			})
		}
	}
	if came != [2]bool{!silent, !silent} {
		return fmt.Errorf("golden: progress at revision %d: etcd answered %v (all %v), cairn %v (all %v), expected %v with %d watchers",
			r.gen.rev, came[0], p.etcd.progress, came[1], p.cairn.progress, !silent, len(p.watchers))
	}
	return p.faults()
}

// syncPause is longer than a server takes to bring a watcher that has nothing to deliver up to date: etcd does it every
// 100 ms.
const syncPause = 500 * time.Millisecond

// synced waits until no watcher is behind.
func (r *run) synced() error {
	if err := r.watches.settle(r.gen.rev); err != nil {
		return err
	}
	pause := false
	for _, p := range r.watches.streams {
		for _, x := range p.watchers {
			pause = pause || x.late && !x.compacted
			x.late = false
		}
	}
	if pause {
		time.Sleep(syncPause)
	}
	return nil
}

// crash ends both servers without warning and starts them again: what they answered must still be there.
func (r *run) crash() error {
	r.count("crash and restart")
	r.crashed = true
	if r.watches != nil {
		if err := r.watches.settle(r.gen.rev); err != nil {
			return err
		}
		r.watches.close()
	}
	if err := errors.Join(r.etcd.crash(), r.cairn.crash()); err != nil {
		return err
	}
	if r.watches != nil {
		return r.watches.open()
	}
	return nil
}
