package v3rpc

import (
	"context"
	"io"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/watch"
	"github.com/cairn-kv/cairn/internal/wire"
)

type watchServer struct {
	pb.UnimplementedWatchServer
	*core
}

// Watch runs one stream: this goroutine sends, another reads requests. It ends with the call's context, not when the
// client stops asking.
func (s *watchServer) Watch(st pb.Watch_WatchServer) error {
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	interval := s.cfg.ProgressInterval
	w := s.Hub().NewStream(watch.Config{
		ClusterID: uint64(s.ClusterID()), MemberID: uint64(s.MemberID()),
		Term:             func() uint64 { return s.View().Term },
		ProgressInterval: interval + rand.N(interval/10+1), // so that many streams do not all speak at once
		FragmentBytes:    s.cfg.MaxRequestBytes + OverheadBytes,
		Send: func(f *wire.Frame) error {
			s.cfg.Metrics.watchSent.Inc()
			return st.SendMsg(f)
		},
	})
	failed := make(chan error, 1)
	go func() {
		if err := s.receive(st, w); err != nil {
			failed <- err
			cancel()
		}
	}()
	err := w.Run(ctx)
	select {
	case rerr := <-failed:
		err = rerr
	default:
	}
	if st.Context().Err() == context.Canceled {
		return wire.ErrWatchCanceled
	}
	return err
}

func (s *watchServer) receive(st pb.Watch_WatchServer, w *watch.Stream) error {
	for {
		q, err := st.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch r := q.GetRequestUnion().(type) {
		case *pb.WatchRequest_CreateRequest:
			if r.CreateRequest != nil {
				c := creation(r.CreateRequest)
				var err error
				if c.StartRevision >= 0 { // which is looked at first
					if err = s.refusal(st.Context(), c.Range); err != nil {
						c.Refused = status.Convert(err).Err().Error() // with its code
					}
				}
				s.watchRequest(st.Context(), q, err)
				w.Create(c)
			}
		case *pb.WatchRequest_CancelRequest:
			if r.CancelRequest != nil {
				s.watchRequest(st.Context(), q, nil)
				w.Cancel(r.CancelRequest.WatchId)
			}
		case *pb.WatchRequest_ProgressRequest:
			w.Progress()
		}
	}
}

// refusal is why a caller may not watch a range, nil if it may.
func (s *watchServer) refusal(ctx context.Context, r wire.Range) error {
	id, err := s.identify(ctx)
	if v := s.View().Auth; err == nil && v.Enabled {
		err = v.Allow(id, auth.Read(r))
	}
	return err
}

func creation(q *pb.WatchCreateRequest) watch.Create {
	key := q.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	return watch.Create{
		Range: wire.ParseRange(key, q.RangeEnd), StartRevision: q.StartRevision, ID: q.WatchId,
		NoPut:    slices.Contains(q.Filters, pb.WatchCreateRequest_NOPUT),
		NoDelete: slices.Contains(q.Filters, pb.WatchCreateRequest_NODELETE),
		PrevKV:   q.PrevKv, Fragment: q.Fragment, Progress: q.ProgressNotify,
	}
}
