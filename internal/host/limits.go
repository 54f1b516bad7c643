package host

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// A quota is judged where a command takes effect, on every member. One that does not know of quotas, an etcd, would put what
// the others refuse, and hold other data from then on.

// SetLimit sets a limit, if every member will hold to it.
func (h *Host) SetLimit(ctx context.Context, who auth.Identity, r *limits.Rule) error {
	if id, silent, found := h.peers.WithoutLimits(); found {
		if silent {
			return status.Errorf(codes.FailedPrecondition, "cairn: member %s has not connected yet, and may be one that does not know limits", id)
		}
		return errWithoutLimits(id)
	}
	return h.changeLimits(ctx, who, wire.V2Put, string(r.Append(nil)))
}

// RemoveLimit removes a limit.
func (h *Host) RemoveLimit(ctx context.Context, who auth.Identity, t *limits.Target) error {
	return h.changeLimits(ctx, who, wire.V2Delete, string(t.Append(nil)))
}

func (h *Host) changeLimits(ctx context.Context, who auth.Identity, method, value string) error {
	q := wire.V2Request{Method: method, Path: machine.LimitsRecord, Val: value}
	_, err := h.ProposeAs(ctx, who, wire.KindV2, q.Append(nil))
	return err
}

// wouldDiverge refuses what a quota might when a member has come that does not know it.
func (h *Host) wouldDiverge(kind wire.Kind, body []byte) error {
	if kind != wire.KindPut && kind != wire.KindTxn {
		return nil
	}
	set := h.View().Limits
	if !set.Quotas() {
		return nil
	}
	id, silent, found := h.peers.WithoutLimits()
	if !found || silent {
		return nil
	}
	var err error
	judge := func(p *wire.PutRequest) {
		set.Covering(wire.BytesString(p.Key), func(r *limits.Rule) {
			if r.Quota() {
				err = errWithoutLimits(id)
			}
		})
	}
	if kind == wire.KindPut {
		if p, ok := wire.ParsePut(body); ok {
			judge(&p)
		}
	} else if t, ok := wire.ParseTxn(body); ok {
		t.EachPut(judge)
	}
	return err
}

func errWithoutLimits(id cluster.ID) error {
	return status.Errorf(codes.FailedPrecondition, "cairn: member %s is an etcd, which does not know limits: replace it first, or remove the quotas", id)
}
