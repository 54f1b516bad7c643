package concurrency

import (
	"context"
	"errors"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var (
	// ErrElectionNotLeader is returned by Proclaim when leadership is lost.
	ErrElectionNotLeader = errors.New("election: not leader")
	// ErrElectionNoLeader is returned by Leader when there is none.
	ErrElectionNoLeader = errors.New("election: no leader")
)

// Election makes one of many sessions the leader. It is not for concurrent use.
type Election struct {
	place place
	lead  bool
	hdr   *pb.ResponseHeader
}

// NewElection names an election; a candidate's key is pfx/leaseHex.
func NewElection(s *Session, pfx string) *Election {
	return &Election{place: newPlace(s, pfx+"/")}
}

// ResumeElection takes up a leadership that an earlier process of the session
// held. pfx is as for NewElection.
func ResumeElection(s *Session, pfx, leaderKey string, leaderRev int64) *Election {
	e := NewElection(s, pfx)
	e.place.key, e.place.rev, e.lead = leaderKey, leaderRev, true
	return e
}

// Campaign puts val up and waits until the session leads. When ctx ends or the
// session expires first, the candidacy is withdrawn and the cause returned.
func (e *Election) Campaign(ctx context.Context, val string) error {
	hdr, first, present, err := e.place.enter(ctx, val)
	if err != nil {
		return err
	}
	e.lead = true // in line: Proclaim and Resign work from here
	if present != nil && string(present.Value) != val {
		if err := e.Proclaim(ctx, val); err != nil {
			e.abandon()
			return err
		}
	}
	if !first {
		if hdr, _, err = e.place.await(ctx); err != nil {
			e.abandon()
			return err
		}
	}
	e.hdr = hdr
	return nil
}

func (e *Election) abandon() {
	e.lead = false
	e.place.abandon()
}

// Proclaim changes the leader's value.
func (e *Election) Proclaim(ctx context.Context, val string) error {
	if !e.lead {
		return ErrElectionNotLeader
	}
	put := client.OpPut(e.place.key, val, client.WithLease(e.place.s.Lease()))
	resp, err := e.place.s.Client().Txn(ctx).If(e.place.isMine()).Then(put).Commit()
	if err != nil {
		return err
	}
	if !resp.Succeeded {
		e.lead = false
		return ErrElectionNotLeader
	}
	e.hdr = resp.Header
	return nil
}

// Resign gives leadership up; without it, nothing happens.
func (e *Election) Resign(ctx context.Context) error {
	if !e.lead {
		return nil
	}
	e.lead = false
	hdr, err := e.place.give(ctx)
	if err == nil {
		e.hdr = hdr
	}
	return err
}

// Leader reads the key and value of the leader, or says ErrElectionNoLeader.
func (e *Election) Leader(ctx context.Context) (*client.GetResponse, error) {
	resp, err := e.head(ctx)
	if err == nil && len(resp.Kvs) == 0 {
		return nil, ErrElectionNoLeader
	}
	return resp, err
}

// head reads the first in line; the response is empty when nobody is.
func (e *Election) head(ctx context.Context) (*client.GetResponse, error) {
	c := e.place.s.Client()
	resp, err := c.Get(ctx, e.place.pfx, client.WithFirstCreate()...)
	if err != nil || len(resp.Kvs) == 0 || !e.place.nested(resp.Kvs[0].Key) {
		return resp, err
	}
	resp, err = c.Get(ctx, e.place.pfx, client.WithPrefix(),
		client.WithSort(client.SortByCreateRevision, client.SortAscend))
	if err != nil {
		return nil, err
	}
	all := resp.Kvs
	resp.Kvs, resp.Count, resp.More = nil, 0, false
	for _, kv := range all {
		if !e.place.nested(kv.Key) {
			resp.Kvs, resp.Count = append(resp.Kvs, kv), 1
			break
		}
	}
	return resp, nil
}

// Observe tells each leader and each value it proclaims, the present one first.
// It may skip leaders of short reign. The channel is closed when ctx ends or
// reading fails.
func (e *Election) Observe(ctx context.Context) <-chan *client.GetResponse {
	out := make(chan *client.GetResponse)
	go e.observe(ctx, out)
	return out
}

// Key, Rev and Header are those of the candidacy.
func (e *Election) Key() string                { return e.place.key }
func (e *Election) Rev() int64                 { return e.place.rev }
func (e *Election) Header() *pb.ResponseHeader { return e.hdr }
