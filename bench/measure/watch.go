package measure

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/bench/report"
)

const watchLimit = 5 * time.Minute

// listener is one stream of watchers. It counts their events and does not decode them.
type listener struct {
	stream grpc.ClientStream
	counts []int // of each watcher, whose IDs are 0, 1, 2, ...
	want   int   // of each
}

// listen opens streams, each on its own connection, and waits until all watchers are there.
func listen(ctx context.Context, cs conns, keys [][][]byte, want int) ([]*listener, error) {
	ls := make([]*listener, len(cs))
	return ls, each(len(cs), func(i int) error {
		st, err := cs[i].NewStream(ctx, bidirectional, methodWatch, raw)
		if err != nil {
			return err
		}
		ls[i] = &listener{stream: st, counts: make([]int, len(keys[i])), want: want}
		for _, k := range keys[i] {
			create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: k}}
			if err := st.SendMsg(body(&pb.WatchRequest{RequestUnion: create})); err != nil {
				return err
			}
		}
		for n := 0; n < len(keys[i]); n++ {
			var b []byte
			if err := st.RecvMsg(&b); err != nil {
				return err
			}
			if m, err := parseWatch(b); err != nil || !m.created || m.events > 0 {
				return fmt.Errorf("measure: %+v in place of a watcher: %w", m, err)
			}
		}
		return nil
	})
}

// run returns when every watcher has its events.
func (l *listener) run() error {
	var b []byte
	for left := l.want * len(l.counts); left > 0; {
		if err := l.stream.RecvMsg(&b); err != nil {
			return fmt.Errorf("measure: %d events to come: %w", left, err)
		}
		m, err := parseWatch(b)
		if err != nil || m.canceled || m.id >= uint64(len(l.counts)) {
			return fmt.Errorf("measure: %+v from a watcher: %w", m, err)
		}
		l.counts[m.id] += m.events
		left -= m.events
	}
	for id, n := range l.counts {
		if n != l.want {
			return fmt.Errorf("measure: watcher %d got %d events of %d", id, n, l.want)
		}
	}
	return nil
}

type watchMessage struct {
	id                uint64
	created, canceled bool
	events            int
}

// parseWatch reads the fields of a WatchResponse that matter here, and passes over the events.
func parseWatch(b []byte) (m watchMessage, err error) {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return m, protowire.ParseError(n)
		}
		b = b[n:]
		value := uint64(0)
		if kind == protowire.VarintType {
			value, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(num, kind, b)
		}
		if n < 0 {
			return m, protowire.ParseError(n)
		}
		b = b[n:]
		switch num {
		case 2:
			m.id = value
		case 3:
			m.created = value != 0
		case 4:
			m.canceled = value != 0
		case 11:
			m.events++
		}
	}
	return m, nil
}

// deliver takes the time from the first put until every watcher has its events, and the server's processor time for it.
// Watchers are spread over the streams; put n writes the key that write gives.
func (s *subject) deliver(ctx context.Context, watched func(stream int) [][]byte, perWatcher, puts, writers int, write func(n int) (prefix string, key int)) (report.Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel() // ends the streams
	cs, err := s.dial(ctx, s.plan.WatchConns)
	if err != nil {
		return nil, err
	}
	defer cs.close()
	var keys [][][]byte
	for i := range cs {
		keys = append(keys, watched(i))
	}
	ls, err := listen(ctx, cs, keys, perWatcher)
	if err != nil {
		return nil, err
	}
	own, err := s.dial(ctx, min(writers, s.plan.Conns))
	if err != nil {
		return nil, err
	}
	defer own.close()
	time.Sleep(s.plan.Warm)
	sample, err := s.timed(func() error {
		var next atomic.Int64
		heard := make(chan error, 1)
		go func() { heard <- each(len(ls), func(i int) error { return ls[i].run() }) }()
		err := each(writers, func(w int) error {
			r := newRand(w)
			for {
				n := int(next.Add(1)) - 1
				if n >= puts {
					return nil
				}
				prefix, k := write(n)
				var size int
				if err := own[w%len(own)].Invoke(ctx, methodPut, newPutBody(prefix).set(k, r), &size, raw); err != nil {
					return err
				}
			}
		})
		if err != nil {
			cancel()
		}
		return errors.Join(err, <-heard)
	})
	delete(sample, report.Growth)
	return sample, err
}

// sameKey: many watchers of one key.
func sameKey(writers func(*Plan) int) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		p := s.plan
		watched := func(int) (keys [][]byte) {
			for range p.Watchers / p.WatchConns {
				keys = append(keys, key("watched", 0))
			}
			return keys
		}
		return s.deliver(ctx, watched, p.Events, p.Events, writers(p), func(int) (string, int) { return "watched", 0 })
	}
}

// ownKeys: many watchers, each of a key of its own, and each key changed as often.
func ownKeys(ctx context.Context, s *subject) (report.Sample, error) {
	p := s.plan
	watched := func(stream int) (keys [][]byte) {
		for n := stream; n < p.OwnKeys; n += p.WatchConns {
			keys = append(keys, key("own", n))
		}
		return keys
	}
	return s.deliver(ctx, watched, p.OwnEvents/p.OwnKeys, p.OwnEvents, 4*p.Writers, func(n int) (string, int) { return "own", n % p.OwnKeys })
}
