package fake

import (
	"slices"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
)

// watch is one watch of one stream.
type watch struct {
	id   int64
	req  *pb.WatchCreateRequest
	next int64
}

// Watch serves a stream with two loops: requests come in, and every change wakes
// the other to send what is due. Events come one revision per response.
func (s *Server) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	var mu sync.Mutex // guards watches and Send
	var watches []*watch
	var nextID int64

	flush := func() error {
		mu.Lock()
		defer mu.Unlock()
		for _, w := range slices.Clone(watches) {
			for {
				resp := s.due(w)
				if resp == nil {
					break
				}
				if err := stream.Send(resp); err != nil {
					return err
				}
				if resp.Canceled {
					watches = slices.DeleteFunc(watches, func(o *watch) bool { return o == w })
					break
				}
			}
		}
		return nil
	}
	failed := make(chan error, 1)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				failed <- err
				return
			}
			if err := flush(); err != nil { // what happened before comes before
				failed <- err
				return
			}
			mu.Lock()
			resp, err := s.onWatch(r)
			if resp == nil && err == nil {
				resp = s.control(r, &watches, &nextID)
			}
			if resp != nil {
				err = stream.Send(resp)
			}
			mu.Unlock()
			if err == nil {
				err = flush()
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if err := flush(); err != nil {
			return err
		}
		select {
		case <-changed:
		case err := <-failed:
			return err
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (s *Server) onWatch(r *pb.WatchRequest) (*pb.WatchResponse, error) {
	if s.OnWatch == nil {
		return nil, nil
	}
	return s.OnWatch(r)
}

func (s *Server) control(r *pb.WatchRequest, watches *[]*watch, nextID *int64) *pb.WatchResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.GetCreateRequest() != nil:
		w := &watch{id: *nextID, req: r.GetCreateRequest(), next: r.GetCreateRequest().StartRevision}
		*nextID++
		if w.next == 0 {
			w.next = s.rev + 1
		}
		*watches = append(*watches, w)
		return &pb.WatchResponse{Header: s.header(), WatchId: w.id, Created: true}
	case r.GetCancelRequest() != nil:
		id := r.GetCancelRequest().WatchId
		n := len(*watches)
		*watches = slices.DeleteFunc(*watches, func(w *watch) bool { return w.id == id })
		if len(*watches) < n {
			return &pb.WatchResponse{Header: s.header(), WatchId: id, Canceled: true}
		}
	case r.GetProgressRequest() != nil:
		return &pb.WatchResponse{Header: s.header(), WatchId: -1}
	}
	return nil
}

// due is the next response of a watch, nil when it is at the head.
func (s *Server) due(w *watch) *pb.WatchResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.next < s.compacted {
		return &pb.WatchResponse{
			Header:  &pb.ResponseHeader{ClusterId: ClusterID, MemberId: MemberID, RaftTerm: Term},
			WatchId: w.id, Canceled: true, CompactRevision: s.compacted,
		}
	}
	for w.next <= s.rev {
		rev := w.next
		w.next++
		resp := &pb.WatchResponse{Header: s.header(), WatchId: w.id}
		resp.Header.Revision = rev
		for _, ev := range s.events {
			if ev.Kv.ModRevision != rev || !inRange(ev.Kv.Key, w.req.Key, w.req.RangeEnd) || filtered(w.req, ev) {
				continue
			}
			out := &mvccpb.Event{Type: ev.Type, Kv: ev.Kv}
			if w.req.PrevKv {
				out.PrevKv = ev.PrevKv
			}
			resp.Events = append(resp.Events, out)
		}
		if len(resp.Events) > 0 {
			return resp
		}
	}
	return nil
}

func filtered(r *pb.WatchCreateRequest, ev *mvccpb.Event) bool {
	for _, f := range r.Filters {
		if (f == pb.WatchCreateRequest_NOPUT) == (ev.Type == mvccpb.Event_PUT) {
			return true
		}
	}
	return false
}
