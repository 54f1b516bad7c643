package cairn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/host"
	"github.com/cairn-kv/cairn/internal/wire"
)

// retention is how much history automatic compaction keeps (server-config.md section 11).
type retention struct {
	period    time.Duration
	revisions int64
}

func (r retention) off() bool { return r.period == 0 && r.revisions == 0 }

func (c *Config) compaction() (retention, error) {
	v := c.AutoCompactionRetention
	bad := func(err error) (retention, error) {
		return retention{}, fmt.Errorf("error parsing CompactionRetention: %w", err)
	}
	switch c.AutoCompactionMode {
	case "":
		return retention{}, errors.New("undefined auto-compaction-mode")
	case "periodic":
		if h, err := strconv.Atoi(v); err == nil {
			if h < 0 {
				return bad(fmt.Errorf("%d is negative", h))
			}
			return retention{period: time.Duration(h) * time.Hour}, nil
		}
		d, err := time.ParseDuration(v)
		if err == nil && d < 0 {
			err = fmt.Errorf("%v is negative", d)
		}
		if err != nil {
			return bad(err)
		}
		return retention{period: d}, nil
	case "revision":
		n, err := strconv.ParseInt(v, 10, 64)
		if err == nil && n < 0 {
			err = fmt.Errorf("%d is negative", n)
		}
		if err != nil {
			return bad(err)
		}
		return retention{revisions: n}, nil
	}
	return retention{}, fmt.Errorf("unknown auto-compaction-mode %q", c.AutoCompactionMode)
}

// autoCompactor compacts history on the leader. It owns one goroutine, which stop ends.
type autoCompactor struct {
	host   *host.Host
	keep   retention
	warn   func(msg string, args ...any)
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

const (
	revisionInterval = 5 * time.Minute
	samplesPerPeriod = 10
)

func startCompactor(h *host.Host, keep retention, warn func(string, ...any)) *autoCompactor {
	ctx, cancel := context.WithCancel(context.Background())
	a := &autoCompactor{host: h, keep: keep, warn: warn, cancel: cancel}
	if keep.off() {
		return a
	}
	a.wg.Add(1)
	go func() {
		defer a.wg.Done()
		if keep.revisions > 0 {
			a.byRevision(ctx)
		} else {
			a.byTime(ctx)
		}
	}()
	return a
}

func (a *autoCompactor) stop() {
	a.cancel()
	a.wg.Wait()
}

func (a *autoCompactor) byRevision(ctx context.Context) {
	ticker := time.NewTicker(revisionInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		a.compact(ctx, a.host.KV().Rev()-a.keep.revisions)
	}
}

// byTime samples the revision and compacts to the one that was current a period ago.
func (a *autoCompactor) byTime(ctx context.Context) {
	interval := min(a.keep.period, time.Hour)
	sample := interval / samplesPerPeriod
	window := int(a.keep.period/sample) + 1
	ticker := time.NewTicker(max(sample, time.Millisecond))
	defer ticker.Stop()
	var revs []int64
	var last time.Time
	for {
		revs = append(revs, a.host.KV().Rev())
		if len(revs) > window {
			revs = append(revs[:0], revs[len(revs)-window:]...)
		}
		if len(revs) == window && time.Since(last) >= interval-sample/2 {
			if a.compact(ctx, revs[0]) {
				last = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (a *autoCompactor) compact(ctx context.Context, rev int64) bool {
	if rev <= max(a.host.KV().CompactRev(), 0) || !a.host.IsLeader() {
		return true
	}
	_, err := a.host.ProposeMessage(ctx, wire.KindCompaction, &pb.CompactionRequest{Revision: rev})
	if err != nil && err != wire.ErrCompacted && ctx.Err() == nil {
		a.warn("failed auto compaction", "revision", rev, "error", err.Error())
		return false
	}
	return true
}
