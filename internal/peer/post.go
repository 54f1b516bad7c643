package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// postQueue bounds the messages that wait to be posted to one peer; more are dropped, which raft hears of.
	postQueue = 64
	// postWorkers bounds the posts to one peer at a time.
	postWorkers = 4
	// postSlowest is the rate that a post may count on, in bytes per second, when its time is bounded.
	postSlowest = 1 << 20
)

// posts sends the messages that find no stream, each in a request of its own. Workers are started as messages come and
// end when none is left.
type posts struct {
	p       *peer
	mu      sync.Mutex
	queue   []*raftpb.Message
	workers int
	stopped bool
}

func (s *posts) push(m *raftpb.Message) {
	s.mu.Lock()
	full := len(s.queue) >= postQueue
	start := false
	if !s.stopped && !full {
		s.queue = append(s.queue, m)
		if start = s.workers < postWorkers; start {
			s.workers++
		}
	}
	s.mu.Unlock()
	if full {
		s.p.dropped(1)
	}
	if start && !s.p.t.spawn(s.work) {
		s.stop()
	}
}

func (s *posts) stop() {
	s.mu.Lock()
	s.stopped, s.queue = true, nil
	s.mu.Unlock()
}

func (s *posts) next() *raftpb.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.workers--
		return nil
	}
	m := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	return m
}

func (s *posts) work() {
	p := s.p
	for m := s.next(); m != nil; m = s.next() {
		began := time.Now()
		n, err := s.post(m)
		if isAppend(m) {
			p.appended(1, n, began, err)
		}
		if err == nil {
			p.activated()
			p.figures.sent(n)
			continue
		}
		if p.ctx.Err() == nil {
			p.failed("write", "pipeline", err)
			p.dropped(1)
		}
	}
}

// post sends one message and returns its size.
func (s *posts) post(m *raftpb.Message) (int, error) {
	p := s.p
	body, err := proto.Marshal(m)
	if err != nil {
		return 0, err
	}
	limit := p.t.cfg.DialTimeout + p.t.cfg.WriteTimeout + p.t.cfg.ReadTimeout + time.Duration(len(body)/postSlowest)*time.Second
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	return len(body), p.post(ctx, p.t.posts, pathRaft, "application/protobuf", bytes.NewReader(body))
}

// post sends a body to the peer and reads its verdict.
func (p *peer) post(ctx context.Context, way *road, path, contentType string, body io.Reader) error {
	u, since := p.addrs.pick(), p.status.since()
	if u == nil {
		return errors.New("peer: no address is known")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at(u, path), body)
	if err != nil {
		return err
	}
	req.Header = p.t.me.head.Clone()
	req.Header.Set("Content-Type", contentType)
	resp, err := way.RoundTrip(req)
	if err != nil {
		p.unreached(u, errors.Is(err, syscall.ECONNREFUSED), since)
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxHead))
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode == http.StatusForbidden && bytes.Contains(text, []byte(saysMismatch)):
		// Somebody else listens there now, who knows nothing of this member. etcd stops for this as well.
		err = errOtherMember
	case resp.StatusCode == http.StatusForbidden:
		p.expel()
		err = errRemoved
	case resp.StatusCode == http.StatusPreconditionFailed:
		err = precondition(text)
	default:
		err = fmt.Errorf("peer: unexpected status %s: %.200q", resp.Status, bytes.TrimSpace(text))
	}
	p.unreached(u, false, since)
	return err
}
