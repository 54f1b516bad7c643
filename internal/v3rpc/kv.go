package v3rpc

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/wire"
)

type kvServer struct {
	*core
	throttle *throttle // nil for steps of a call that was judged as a whole
}

// What a write is taken to add to the database (v3-grpc.md section 16.3).
const (
	putCost   = 256
	leaseCost = 64
)

func (s *kvServer) rangeKeys(ctx context.Context, body []byte) (*wire.Frame, error) {
	q, ok := wire.ParseRangeRequest(body)
	if !ok {
		return nil, wire.Malformed()
	}
	if err := checkRange(&q); err != nil {
		return nil, err
	}
	if err := s.throttle.ask(ctx, s.core, func(l *load) { l.read(wire.ParseRange(q.Key, q.End)) }); err != nil {
		return nil, err
	}
	if !q.Serializable {
		if err := s.Read(ctx); err != nil {
			return nil, err
		}
	}
	s.cfg.Metrics.ranges.Inc()
	id, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	var h *hold
	for {
		v := s.View()
		if err := reads(v, id, &q); err != nil {
			return nil, h.end(err)
		}
		began := time.Now()
		res, err := s.pins.read(v.KV, &q)
		s.cfg.Metrics.readRanges.observe(time.Since(began), err)
		if err != nil {
			return nil, h.end(err)
		}
		if n := resultRoom(&res); h == nil && n > smallAnswer {
			if h = s.answers.try(ctx, n); h == nil {
				// What was read is let go: it would be held while others have their turn.
				if h, err = s.answers.take(ctx, n); err != nil {
					return nil, err
				}
				continue
			}
		}
		return held(rangeFrame(s.header(v, v.KV.Rev()), &res), h), nil
	}
}

func (s *kvServer) put(ctx context.Context, body []byte) (*wire.Frame, error) {
	p, ok := wire.ParsePut(body)
	if !ok {
		return nil, wire.Malformed()
	}
	if !s.HasSpace(ctx, putCost+len(p.Key)+len(p.Value)) {
		return nil, wire.ErrNoSpace
	}
	if err := checkPut(&p); err != nil {
		return nil, err
	}
	if err := s.throttle.ask(ctx, s.core, func(l *load) { l.write(wire.One(wire.BytesString(p.Key))) }); err != nil {
		return nil, err
	}
	if s.View().Limits.Quotas() {
		if err := s.room(ctx, func(v *machine.View, id auth.Identity) error { return roomForPut(v, id, &p) }); err != nil {
			return nil, err
		}
	}
	s.cfg.Metrics.countPut(&p)
	res, err := s.propose(ctx, wire.KindPut, body)
	if err != nil {
		return nil, err
	}
	if !p.PrevKV {
		res.Prev = ""
	}
	b := wire.NewBuilder(64 + len(res.Prev))
	appendHeader(b, s.answer(&res))
	if res.Prev != "" {
		b.Record(2, res.Prev, 0)
	}
	return b.Frame(), nil
}

// answer is the header of a write's answer.
func (c *core) answer(res *machine.Result) wire.Header {
	return wire.Header{ClusterID: uint64(c.ClusterID()), MemberID: uint64(c.MemberID()), Revision: res.Rev, Term: res.Term}
}

func (s *kvServer) deleteRange(ctx context.Context, body []byte) (*wire.Frame, error) {
	d, ok := wire.ParseDelete(body)
	if !ok {
		return nil, wire.Malformed()
	}
	if len(d.Key) == 0 {
		return nil, wire.ErrEmptyKey
	}
	if err := s.throttle.ask(ctx, s.core, func(l *load) { l.write(wire.ParseRange(d.Key, d.End)) }); err != nil {
		return nil, err
	}
	s.cfg.Metrics.deletes.Inc()
	res, err := s.propose(ctx, wire.KindDeleteRange, body)
	if err != nil {
		return nil, err
	}
	h := s.answer(&res)
	room, err := s.roomFor(ctx, recordsRoom(res.PrevKVs))
	if err != nil {
		return nil, err
	}
	return held(deleteFrame(&h, res.Deleted, res.PrevKVs), room), nil
}

func (s *kvServer) txn(ctx context.Context, body []byte) (*wire.Frame, error) {
	t, ok := wire.ParseTxn(body)
	if !ok {
		return nil, wire.Malformed()
	}
	if !s.HasSpace(ctx, txnCost(t)) {
		return nil, wire.ErrNoSpace
	}
	if err := checkTxn(t, s.cfg.MaxTxnOps); err != nil {
		return nil, err
	}
	if err := s.throttle.ask(ctx, s.core, func(l *load) { l.txn(t) }); err != nil {
		return nil, err
	}
	s.cfg.Metrics.countOps(t)
	began := time.Now()
	if t.ReadOnly() {
		f, err := s.readTxn(ctx, t)
		s.cfg.Metrics.readTxns.observe(time.Since(began), err)
		return f, err
	}
	if s.View().Limits.Quotas() && t.Puts() {
		if err := s.room(ctx, func(v *machine.View, id auth.Identity) error { return roomForTxn(v, id, t) }); err != nil {
			return nil, err
		}
	}
	res, err := s.propose(ctx, wire.KindTxn, body)
	s.cfg.Metrics.writeTxns.observe(time.Since(began), err)
	if err != nil {
		return nil, err
	}
	h := s.answer(&res)
	room, err := s.roomFor(ctx, txnRoom(res.Txn))
	if err != nil {
		return nil, err
	}
	return held(txnFrame(&h, res.Txn), room), nil
}

// readTxn answers a txn of plain ranges from a view, without the log.
func (s *kvServer) readTxn(ctx context.Context, t *wire.TxnRequest) (*wire.Frame, error) {
	serializable := true
	for _, branch := range [][]wire.Op{t.Success, t.Failure} {
		for _, op := range branch {
			serializable = serializable && op.Range.Serializable
		}
	}
	if !serializable {
		if err := s.Read(ctx); err != nil {
			return nil, err
		}
	}
	id, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	var room *hold
	for {
		v := s.View()
		if v.Auth.Enabled {
			if err := v.Auth.Allow(id, machine.TxnNeeds(nil, t, v.Leases)...); err != nil {
				return nil, room.end(err)
			}
		}
		res, err := machine.ReadTxn(v.KV, t)
		if err != nil {
			return nil, room.end(err)
		}
		if n := txnRoom(res); room == nil && n > smallAnswer {
			if room = s.answers.try(ctx, n); room == nil {
				if room, err = s.answers.take(ctx, n); err != nil {
					return nil, err
				}
				continue
			}
		}
		h := s.header(v, v.KV.Rev())
		return held(txnFrame(&h, res), room), nil
	}
}

func (s *kvServer) compact(ctx context.Context, body []byte) (*wire.Frame, error) {
	var q pb.CompactionRequest
	if proto.Unmarshal(body, &q) != nil {
		return nil, wire.Malformed()
	}
	if err := s.admin(ctx); err != nil {
		return nil, err
	}
	res, err := s.propose(ctx, wire.KindCompaction, body)
	if q.Physical && res.CompactRev > 0 {
		// Also after a refusal: whoever asks for it wants storage to be done with what was asked before.
		if werr := s.AwaitCompaction(ctx, res.CompactRev); err == nil {
			err = werr
		}
	}
	if err != nil {
		return nil, err
	}
	b := wire.NewBuilder(64)
	appendHeader(b, s.answer(&res))
	return b.Frame(), nil
}

// rangeStream sends a range in chunks that are read one after the other at one revision (v3-grpc.md section 8).
func (s *kvServer) rangeStream(st grpc.ServerStream) error {
	req := new(raw)
	if err := st.RecvMsg(req); err != nil {
		return err
	}
	q, ok := wire.ParseRangeRequest(req.b)
	if !ok {
		return wire.Malformed()
	}
	if err := checkRange(&q); err != nil {
		return err
	}
	if q.Order != wire.SortNone && !(q.Target == wire.SortByKey && q.Order == wire.SortAscend) {
		return wire.ErrStreamSort
	}
	if q.Filtered() {
		return wire.ErrStreamFilter
	}
	if err := s.throttle.ask(st.Context(), s.core, func(l *load) { l.read(wire.ParseRange(q.Key, q.End)) }); err != nil {
		return err
	}
	q.Target = wire.SortByKey // the target of no order: chunks sorted one by one would lose and repeat keys
	if !q.Serializable {
		if err := s.Read(st.Context()); err != nil {
			return err
		}
	}
	id, err := s.identify(st.Context())
	if err != nil {
		return err
	}
	v := s.View()
	if err := reads(v, id, &q); err != nil {
		return err
	}
	h := s.header(v, v.KV.Rev())
	if q.CountOnly {
		res, err := v.KV.Range(&q)
		if err != nil {
			return err
		}
		return st.SendMsg(wrapRange(rangeFrame(h, &res)))
	}
	return s.chunks(st, v.KV, &q, h)
}

const firstChunk = 10

// chunks walks the range on one view: the revision is pinned, and nothing that happens meanwhile is in the way.
func (s *kvServer) chunks(st grpc.ServerStream, kv mvcc.View, q *wire.RangeRequest, h wire.Header) error {
	pages, err := s.pager(kv, q)
	if err != nil {
		return err
	}
	for limit := firstChunk; ; {
		res, last, err := pages(limit)
		if err != nil {
			return err
		}
		if last {
			return st.SendMsg(wrapRange(rangeFrame(h, &res)))
		}
		res.Count, res.More = 0, false
		f := rangeFrame(wire.Header{}, &res)
		if err := st.SendMsg(wrapRange(f)); err != nil {
			return err
		}
		switch half := s.cfg.MaxRequestBytes / 2; {
		case f.Size < half:
			limit *= 2
		case f.Size > 2*half:
			limit = max(1, limit/2)
		}
	}
}

// pager returns a function that gives the next n records of the range. The last page carries count and more.
func (s *kvServer) pager(kv mvcc.View, q *wire.RangeRequest) (func(n int) (res mvcc.Result, last bool, err error), error) {
	if err := kv.CheckRev(q.Revision); err != nil {
		return nil, err
	}
	old := q.Revision > 0 && q.Revision < kv.Rev()
	if pinned, ok := s.pins.find(q.Revision); old && ok {
		kv, old = pinned, false
	}
	if old {
		// Pages of an old revision would each look at every key: it is read once.
		all, err := kv.Range(q)
		return func(n int) (mvcc.Result, bool, error) {
			res := all
			if n < len(all.KVs) {
				res.KVs, all.KVs = all.KVs[:n:n], all.KVs[n:]
				return res, false, nil
			}
			return res, true, nil
		}, err
	}
	page, left, count := *q, q.Limit, int64(-1)
	return func(n int) (mvcc.Result, bool, error) {
		page.Limit = int64(n)
		if q.Limit > 0 {
			page.Limit = min(page.Limit, left)
		}
		res, err := kv.Range(&page)
		if err != nil {
			return res, false, err
		}
		if count < 0 {
			count = res.Count
		}
		left -= int64(len(res.KVs))
		if !res.More || (q.Limit > 0 && left == 0) {
			res.Count = count
			return res, true, nil
		}
		page.Key = append([]byte(res.KVs[len(res.KVs)-1].Key()), 0)
		return res, false, nil
	}, nil
}
