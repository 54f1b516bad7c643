package v3rpc

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/wire"
)

// gate is what every call passes before its handler (v3-grpc.md section 3).
type gate struct {
	*core
	leads *leaderWatch
	open  *calls       // streams, and unary calls that wait for their turn
	busy  atomic.Int64 // unary calls under way
}

const slowRequest = 300 * time.Millisecond

func (g *gate) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.cfg.Audit == nil {
		return g.call(ctx, req, info, handler)
	}
	a := g.follow(ctx, info.FullMethod)
	resp, err := g.call(a.ctx, req, info, handler)
	describe(&a.rec, req)
	a.end(resp, err)
	return resp, err
}

func (g *gate) call(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	g.busy.Add(1)
	defer g.busy.Add(-1)
	m := g.cfg.Metrics.method(info.FullMethod)
	m.started.Inc()
	m.received.Inc()
	began := time.Now()
	resp, err := g.admit(ctx, info.FullMethod, m, serializableRange(info.FullMethod, req))
	if err == nil {
		if info.FullMethod == LockMethod || info.FullMethod == CampaignMethod {
			resp, err = g.waiting(ctx, req, handler)
		} else {
			resp, err = handler(ctx, req)
		}
	}
	if err != nil {
		resp = nil
	} else {
		m.sent.Inc()
	}
	m.handled(status.Code(err)).Inc()
	took := time.Since(began)
	if m.took[0] != nil {
		m.took.observe(took, err)
	}
	if m.handling != nil {
		m.handling.Observe(took.Seconds())
	}
	if took > slowRequest {
		g.cfg.Logger.Warn("request stats", slog.String("method", info.FullMethod), slog.String("took", took.String()))
	}
	return resp, err
}

// serializableRange reports whether the request is one that a learner answers.
func serializableRange(method string, req any) bool {
	r, ok := req.(*raw)
	if !ok || method != pb.KV_Range_FullMethodName {
		return false
	}
	q, ok := wire.ParseRangeRequest(r.b)
	return ok && q.Serializable
}

// admit checks what does not depend on the method's own rules.
func (g *gate) admit(ctx context.Context, method string, m *methodMetrics, serializable bool) (any, error) {
	if me, ok := g.View().Cluster.Member(g.MemberID()); ok && me.IsLearner && !serializable &&
		method != pb.Maintenance_Status_FullMethodName && method != pb.Maintenance_Snapshot_FullMethodName {
		return nil, wire.ErrNotSupportedForLearner
	}
	if v := g.View(); len(v.Alarms) > 0 && v.Corrupt(g.MemberID()) && !aboutItself(method) {
		return nil, wire.ErrCorrupt
	}
	version := "unknown"
	if vs := metadata.ValueFromIncomingContext(ctx, "client-api-version"); len(vs) > 0 {
		version = vs[0]
		if !utf8.ValidString(version) {
			return nil, wire.ErrInvalidClientAPIVersion
		}
	}
	g.cfg.Metrics.client(m.unary, version).Inc()
	if needsLeader(ctx) && g.Leader() == 0 {
		return nil, wire.ErrNoLeader
	}
	return nil, nil
}

// aboutItself reports whether a call is one that a member answers even if its data is not to be believed.
func aboutItself(method string) bool {
	return strings.HasPrefix(method, "/etcdserverpb.Maintenance/") && method != pb.Maintenance_Snapshot_FullMethodName ||
		strings.HasPrefix(method, "/etcdserverpb.Cluster/") || strings.HasPrefix(method, "/cairn.")
}

func needsLeader(ctx context.Context) bool {
	vs := metadata.ValueFromIncomingContext(ctx, "hasleader")
	return len(vs) > 0 && vs[0] == "true"
}

func (g *gate) stream(srv any, st grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m := g.cfg.Metrics.method(info.FullMethod)
	m.started.Inc()
	began := time.Now()
	ctx := st.Context()
	var a *audited // nil without an audit log
	if g.cfg.Audit != nil {
		a = g.follow(ctx, info.FullMethod)
		ctx = a.ctx
	}
	_, err := g.admit(ctx, info.FullMethod, m, false)
	if err == nil {
		err = g.endable(ctx, func(ctx context.Context) error {
			return handler(srv, &countedStream{ServerStream: st, m: m, ctx: ctx, audited: a})
		})
	}
	if a != nil {
		a.end(nil, err)
	}
	m.handled(status.Code(err)).Inc()
	if m.handling != nil {
		m.handling.Observe(time.Since(began).Seconds())
	}
	return err
}

// waiting handles a unary call that may wait for as long as its client does.
func (g *gate) waiting(ctx context.Context, req any, handler grpc.UnaryHandler) (resp any, err error) {
	err = g.endable(ctx, func(ctx context.Context) (err error) {
		resp, err = handler(ctx, req)
		return err
	})
	return resp, err
}

// endable runs a call that the server may end before its client does.
func (g *gate) endable(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer g.open.join(cancel)()
	if needsLeader(ctx) {
		defer g.leads.join(cancel)()
	}
	err := run(ctx)
	if cause := context.Cause(ctx); err != nil && (cause == wire.ErrNoLeader || cause == wire.ErrStopped) {
		return cause
	}
	return err
}

// countedStream counts messages, and may end earlier than the call.
type countedStream struct {
	grpc.ServerStream
	m       *methodMetrics
	ctx     context.Context
	audited *audited // nil without an audit log, or when it has seen the first message
}

func (s *countedStream) Context() context.Context { return s.ctx }

func (s *countedStream) SendMsg(m any) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	err := s.ServerStream.SendMsg(m)
	if err == nil {
		s.m.sent.Inc()
	}
	return err
}

func (s *countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.m.received.Inc()
		if s.audited != nil {
			s.audited.first(m)
			s.audited = nil
		}
	}
	return err
}
