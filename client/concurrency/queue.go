package concurrency

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// cleanupTimeout bounds the deletes that tidy up after a wait that failed. What
// they leave behind goes with the lease.
const cleanupTimeout = 5 * time.Second

// ErrSessionExpired is returned when the session ends before its turn has come.
var ErrSessionExpired = errors.New("mutex: session is expired")

// place is the key of one session among those that wait under a prefix. The
// oldest create revision is first in line.
type place struct {
	s   *Session
	pfx string // with the slash at its end
	key string
	rev int64 // create revision, -1 when not in line
}

func newPlace(s *Session, pfx string) place {
	return place{s: s, pfx: pfx, key: pfx + strconv.FormatInt(int64(s.Lease()), 16), rev: -1}
}

// isMine guards a transaction by the place still being held.
func (p *place) isMine() client.Cmp {
	return client.Compare(client.CreateRevision(p.key), "=", p.rev)
}

// enter gets in line with a value, or finds the session there already. first
// says that nobody is before it; present is the key as it was found.
func (p *place) enter(ctx context.Context, val string) (hdr *pb.ResponseHeader, first bool, present *mvccpb.KeyValue, err error) {
	put := client.OpPut(p.key, val, client.WithLease(p.s.Lease()))
	oldest := client.OpGet(p.pfx, client.WithFirstCreate()...)
	resp, err := p.s.Client().Txn(ctx).
		If(client.Compare(client.CreateRevision(p.key), "=", 0)).
		Then(put, oldest).
		Else(client.OpGet(p.key), oldest).
		Commit()
	if err != nil {
		return nil, false, nil, err
	}
	if len(resp.Responses) != 2 {
		return nil, false, nil, errors.New("concurrency: malformed transaction response")
	}
	p.rev = resp.Header.GetRevision()
	if !resp.Succeeded {
		kvs := resp.Responses[0].GetResponseRange().GetKvs()
		if len(kvs) != 1 {
			return nil, false, nil, errors.New("concurrency: malformed transaction response")
		}
		present, p.rev = kvs[0], kvs[0].CreateRevision
	}
	head := resp.Responses[1].GetResponseRange().GetKvs()
	first = len(head) == 0 || head[0].CreateRevision == p.rev
	return resp.Header, first, present, nil
}

// await returns when nobody is before the place any more and the place itself
// still exists: kv is its key as it is then.
func (p *place) await(ctx context.Context) (hdr *pb.ResponseHeader, kv *mvccpb.KeyValue, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.s.Ctx(), func() { cancel(ErrSessionExpired) })()
	fail := func(err error) (*pb.ResponseHeader, *mvccpb.KeyValue, error) {
		if errors.Is(context.Cause(ctx), ErrSessionExpired) {
			err = ErrSessionExpired
		}
		return nil, nil, err
	}
	for {
		before, rev, err := p.predecessor(ctx)
		if err != nil {
			return fail(err)
		}
		if before == "" {
			break
		}
		if err := waitDeleted(ctx, p.s.Client(), before, rev+1); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return fail(err) // after a compaction the line is read again
		}
	}
	resp, err := p.s.Client().Get(ctx, p.key)
	if err != nil {
		return fail(err)
	}
	if len(resp.Kvs) == 0 || resp.Kvs[0].CreateRevision != p.rev {
		return nil, nil, ErrSessionExpired
	}
	return resp.Header, resp.Kvs[0], nil
}

// predecessor finds the newest key in line before the place, "" if none, and the
// revision at which that was so. Keys of lines nested deeper are passed over:
// a/b/1 does not wait in line a.
func (p *place) predecessor(ctx context.Context) (string, int64, error) {
	opts := []client.OpOption{
		client.WithPrefix(), client.WithMaxCreateRev(p.rev - 1), client.WithKeysOnly(),
		client.WithSort(client.SortByCreateRevision, client.SortDescend),
	}
	resp, err := p.s.Client().Get(ctx, p.pfx, append(opts, client.WithLimit(1))...)
	if err == nil && len(resp.Kvs) == 1 && p.nested(resp.Kvs[0].Key) {
		resp, err = p.s.Client().Get(ctx, p.pfx, opts...)
	}
	if err != nil {
		return "", 0, err
	}
	for _, kv := range resp.Kvs {
		if !p.nested(kv.Key) {
			return string(kv.Key), resp.Header.GetRevision(), nil
		}
	}
	return "", resp.Header.GetRevision(), nil
}

func (p *place) nested(key []byte) bool {
	return strings.Contains(string(key[len(p.pfx):]), "/")
}

// give leaves the line. Only the very key that was put is deleted, never a later
// one of the same session.
func (p *place) give(ctx context.Context) (*pb.ResponseHeader, error) {
	resp, err := p.s.Client().Txn(ctx).If(p.isMine()).Then(client.OpDelete(p.key)).Commit()
	if err != nil {
		return nil, err
	}
	p.rev = -1
	return resp.Header, nil
}

// abandon is give after a failed wait, when the caller's context may be over.
func (p *place) abandon() {
	ctx, cancel := context.WithTimeout(p.s.Client().Ctx(), cleanupTimeout)
	defer cancel()
	_, _ = p.give(ctx) // the lease's end cleans up otherwise
	p.rev = -1
}

// waitDeleted watches one key from rev on until it is deleted.
func waitDeleted(ctx context.Context, c *client.Client, key string, rev int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range c.Watch(ctx, key, client.WithRev(rev), client.WithFilterPut()) {
		if err := resp.Err(); err != nil {
			return err
		}
		for _, ev := range resp.Events {
			if ev.Type == client.EventTypeDelete {
				return nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.New("lost watcher waiting for delete")
}
