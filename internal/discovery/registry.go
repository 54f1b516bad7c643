// Package discovery finds out who the first members of a cluster are when nobody has listed them: from a registry in
// another cluster, or from the DNS (server-config.md sections 7.4 and 7.5).
//
// It must never know what the answer is used for, and keeps nothing.
package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/client"
	"github.com/cairn-kv/cairn/internal/cluster"
)

// Errors of a registry, in etcd's words.
var (
	ErrSizeNotFound = errors.New("discovery: size key not found")
	ErrBadSize      = errors.New("discovery: size key is bad")
	ErrFull         = errors.New("discovery: cluster is full")
	ErrDuplicate    = errors.New("discovery: found duplicate id")
)

const (
	registryPrefix = "/_etcd/registry"
	mostMembers    = 1000
	firstRetry     = 250 * time.Millisecond
	lastRetry      = 10 * time.Second
)

// Registry is a place in another cluster where members register under a token until there are enough.
type Registry struct {
	Token          string
	Client         client.Config
	RequestTimeout time.Duration
	Logger         *slog.Logger
}

// Join registers a member, with its name and URLs in the form name=url,..., and waits until the cluster is complete. It
// returns the first members in the form of --initial-cluster.
func (r *Registry) Join(ctx context.Context, id cluster.ID, urls string) (string, error) {
	c, err := client.New(r.Client)
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	defer c.Close()
	j := &joining{Registry: r, c: c, dir: path.Join(registryPrefix, r.Token), id: id, urls: urls}
	for retry := firstRetry; ; retry = min(2*retry, lastRetry) {
		s, err := j.try(ctx)
		if err == nil || !transient(err) || ctx.Err() != nil {
			return s, err
		}
		r.Logger.Warn("discovery: the registry does not answer; trying again", "error", err.Error(), "after", retry.String())
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(retry):
		}
	}
}

// transient reports whether trying again may help.
func transient(err error) bool {
	for _, e := range []error{ErrSizeNotFound, ErrBadSize, ErrFull, ErrDuplicate} {
		if errors.Is(err, e) {
			return false
		}
	}
	switch status.Code(err) {
	case codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument:
		return false
	}
	return true
}

type joining struct {
	*Registry
	c    *client.Client
	dir  string
	id   cluster.ID
	urls string
}

// entry is a member that has registered.
type entry struct {
	id, urls string
	rev      int64
}

func (j *joining) try(ctx context.Context) (string, error) {
	size, err := j.size(ctx)
	if err != nil {
		return "", err
	}
	entries, _, err := j.entries(ctx)
	if err != nil {
		return "", err
	}
	if place(entries, j.id) < 0 && len(entries) >= size {
		return "", ErrFull
	}
	if err := j.register(ctx); err != nil {
		return "", err
	}
	for {
		var rev int64
		if entries, rev, err = j.entries(ctx); err != nil {
			return "", err
		}
		at := place(entries, j.id)
		switch {
		case at < 0 || at >= size:
			return "", ErrFull
		case len(entries) >= size:
			var parts []string
			for _, e := range entries[:size] {
				parts = append(parts, e.urls)
			}
			return strings.Join(parts, ","), nil
		}
		j.Logger.Info("discovery: waiting for other members", "found", len(entries), "needed", size-len(entries))
		if err := j.await(ctx, rev); err != nil {
			return "", err
		}
	}
}

func place(entries []entry, id cluster.ID) int {
	return slices.IndexFunc(entries, func(e entry) bool { return e.id == id.String() })
}

func (j *joining) timed(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, j.RequestTimeout)
}

func (j *joining) size(ctx context.Context) (int, error) {
	ctx, cancel := j.timed(ctx)
	defer cancel()
	resp, err := j.c.Get(ctx, path.Join(j.dir, "_config", "size"))
	if err != nil {
		return 0, err
	}
	if len(resp.Kvs) == 0 {
		return 0, ErrSizeNotFound
	}
	n, err := strconv.Atoi(string(resp.Kvs[0].Value))
	if err != nil || n <= 0 || n > mostMembers {
		return 0, fmt.Errorf("%w: %q", ErrBadSize, resp.Kvs[0].Value)
	}
	return n, nil
}

func (j *joining) members() string { return path.Join(j.dir, "members") + "/" }

// entries are those that have registered, in the order in which they did.
func (j *joining) entries(ctx context.Context) (out []entry, rev int64, err error) {
	ctx, cancel := j.timed(ctx)
	defer cancel()
	resp, err := j.c.Get(ctx, j.members(), client.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	for _, kv := range resp.Kvs {
		out = append(out, entry{id: strings.TrimPrefix(string(kv.Key), j.members()), urls: string(kv.Value), rev: kv.CreateRevision})
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(a.rev, b.rev) })
	return out, resp.Header.Revision, nil
}

// register adds this member. It may have done so before, and been ended before it had made its data directory.
func (j *joining) register(ctx context.Context) error {
	ctx, cancel := j.timed(ctx)
	defer cancel()
	key := j.members() + j.id.String()
	resp, err := j.c.Txn(ctx).If(client.Compare(client.CreateRevision(key), "=", 0)).
		Then(client.OpPut(key, j.urls)).Else(client.OpGet(key)).Commit()
	if err != nil || resp.Succeeded {
		return err
	}
	if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 && string(kvs[0].Value) != j.urls {
		return fmt.Errorf("%w: member %s has registered as %s", ErrDuplicate, j.id, kvs[0].Value)
	}
	return nil
}

// await waits for another member to register.
func (j *joining) await(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range j.c.Watch(ctx, j.members(), client.WithPrefix(), client.WithRev(rev+1)) {
		if err := r.Err(); err != nil {
			return err
		}
		if len(r.Events) > 0 {
			return nil
		}
	}
	return ctx.Err()
}
