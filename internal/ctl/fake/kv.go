package fake

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

func inRange(key, from, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(key, from)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(key, from) >= 0
	}
	return bytes.Compare(key, from) >= 0 && bytes.Compare(key, end) < 0
}

// at gives the keyspace at a revision. The caller holds s.mu.
func (s *Server) at(rev int64) map[string]*mvccpb.KeyValue {
	if rev <= 0 || rev >= s.rev {
		return s.kvs
	}
	m := map[string]*mvccpb.KeyValue{}
	for _, ev := range s.events {
		if ev.Kv.ModRevision > rev {
			break
		}
		if ev.Type == mvccpb.Event_PUT {
			m[string(ev.Kv.Key)] = ev.Kv
		} else {
			delete(m, string(ev.Kv.Key))
		}
	}
	return m
}

func (s *Server) rangeKVs(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	switch {
	case len(r.Key) == 0:
		return nil, rpctypes.ErrGRPCEmptyKey
	case r.Revision > s.rev:
		return nil, rpctypes.ErrGRPCFutureRev
	case r.Revision > 0 && r.Revision < s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	}
	var kvs []*mvccpb.KeyValue
	resp := &pb.RangeResponse{}
	for _, kv := range s.at(r.Revision) {
		if !inRange(kv.Key, r.Key, r.RangeEnd) {
			continue
		}
		resp.Count++
		if (r.MinModRevision > 0 && kv.ModRevision < r.MinModRevision) ||
			(r.MaxModRevision > 0 && kv.ModRevision > r.MaxModRevision) ||
			(r.MinCreateRevision > 0 && kv.CreateRevision < r.MinCreateRevision) ||
			(r.MaxCreateRevision > 0 && kv.CreateRevision > r.MaxCreateRevision) {
			continue
		}
		kvs = append(kvs, proto.CloneOf(kv))
	}
	if r.CountOnly {
		return resp, nil
	}
	slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int {
		c := bytes.Compare(a.Key, b.Key)
		switch r.SortTarget {
		case pb.RangeRequest_CREATE:
			c = cmp.Compare(a.CreateRevision, b.CreateRevision)
		case pb.RangeRequest_MOD:
			c = cmp.Compare(a.ModRevision, b.ModRevision)
		case pb.RangeRequest_VERSION:
			c = cmp.Compare(a.Version, b.Version)
		case pb.RangeRequest_VALUE:
			c = bytes.Compare(a.Value, b.Value)
		}
		if r.SortOrder == pb.RangeRequest_DESCEND {
			c = -c
		}
		return c
	})
	if r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, resp.More = kvs[:r.Limit], true
	}
	if r.KeysOnly {
		for _, kv := range kvs {
			kv.Value = nil
		}
	}
	resp.Kvs = kvs
	return resp, nil
}

// record appends one event at revision rev.
func (s *Server) record(typ mvccpb.Event_EventType, kv, prev *mvccpb.KeyValue) {
	s.events = append(s.events, &mvccpb.Event{Type: typ, Kv: kv, PrevKv: prev})
}

func (s *Server) put(r *pb.PutRequest, rev int64) (*pb.PutResponse, error) {
	prev := s.kvs[string(r.Key)]
	switch {
	case len(r.Key) == 0:
		return nil, rpctypes.ErrGRPCEmptyKey
	case r.IgnoreLease && r.Lease != 0:
		return nil, rpctypes.ErrGRPCLeaseProvided
	case (r.IgnoreValue || r.IgnoreLease) && prev == nil:
		return nil, rpctypes.ErrGRPCKeyNotFound
	case r.Lease != 0 && s.leases[r.Lease] == 0:
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	kv := &mvccpb.KeyValue{Key: r.Key, Value: r.Value, Lease: r.Lease, CreateRevision: rev, ModRevision: rev, Version: 1}
	if prev != nil {
		kv.CreateRevision, kv.Version = prev.CreateRevision, prev.Version+1
		if r.IgnoreValue {
			kv.Value = prev.Value
		}
		if r.IgnoreLease {
			kv.Lease = prev.Lease
		}
	}
	s.kvs[string(r.Key)] = kv
	s.record(mvccpb.Event_PUT, kv, prev)
	resp := &pb.PutResponse{}
	if r.PrevKv {
		resp.PrevKv = prev
	}
	return resp, nil
}

func (s *Server) del(r *pb.DeleteRangeRequest, rev int64) *pb.DeleteRangeResponse {
	resp := &pb.DeleteRangeResponse{}
	var keys []string
	for k, kv := range s.kvs {
		if inRange(kv.Key, r.Key, r.RangeEnd) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		prev := s.kvs[k]
		delete(s.kvs, k)
		s.record(mvccpb.Event_DELETE, &mvccpb.KeyValue{Key: []byte(k), ModRevision: rev}, prev)
		resp.Deleted++
		if r.PrevKv {
			resp.PrevKvs = append(resp.PrevKvs, prev)
		}
	}
	return resp
}

// commit makes the events recorded since n visible at s.rev+1.
func (s *Server) commit(n int) {
	if len(s.events) > n {
		s.rev++
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (s *Server) Range(_ context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp, err := s.rangeKVs(r)
	if err == nil {
		resp.Header = s.header()
	}
	return resp, err
}

// RangeStream sends one key per chunk and the rest in the last.
func (s *Server) RangeStream(r *pb.RangeRequest, out grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	resp, err := s.Range(out.Context(), r)
	if err != nil {
		return err
	}
	for len(resp.Kvs) > 1 {
		chunk := &pb.RangeResponse{Kvs: resp.Kvs[:1]}
		resp.Kvs = resp.Kvs[1:]
		if err := out.Send(&pb.RangeStreamResponse{RangeResponse: chunk}); err != nil {
			return err
		}
	}
	return out.Send(&pb.RangeStreamResponse{RangeResponse: resp})
}

func (s *Server) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.events)
	resp, err := s.put(r, s.rev+1)
	if err != nil {
		return nil, err
	}
	s.commit(n)
	resp.Header = s.header()
	return resp, nil
}

func (s *Server) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.events)
	resp := s.del(r, s.rev+1)
	s.commit(n)
	resp.Header = s.header()
	return resp, nil
}

func (s *Server) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.Revision <= s.compacted:
		return nil, rpctypes.ErrGRPCCompacted
	case r.Revision > s.rev:
		return nil, rpctypes.ErrGRPCFutureRev
	}
	s.compacted = r.Revision
	return &pb.CompactionResponse{Header: s.header()}, nil
}

func (s *Server) holds(c *pb.Compare) bool {
	kv := s.kvs[string(c.Key)]
	var have, want int64
	switch c.Target {
	case pb.Compare_VALUE:
		if kv == nil {
			return false
		}
		have = int64(bytes.Compare(kv.Value, c.GetValue()))
	case pb.Compare_VERSION:
		have, want = kv.GetVersion(), c.GetVersion()
	case pb.Compare_CREATE:
		have, want = kv.GetCreateRevision(), c.GetCreateRevision()
	case pb.Compare_MOD:
		have, want = kv.GetModRevision(), c.GetModRevision()
	case pb.Compare_LEASE:
		have, want = kv.GetLease(), c.GetLease()
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return have == want
	case pb.Compare_NOT_EQUAL:
		return have != want
	case pb.Compare_GREATER:
		return have > want
	}
	return have < want
}

func (s *Server) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &pb.TxnResponse{Succeeded: true}
	for _, c := range r.Compare {
		resp.Succeeded = resp.Succeeded && s.holds(c)
	}
	ops := r.Success
	if !resp.Succeeded {
		ops = r.Failure
	}
	n := len(s.events)
	saved := s.rev
	for _, op := range ops {
		one := &pb.ResponseOp{}
		var err error
		switch {
		case op.GetRequestPut() != nil:
			var p *pb.PutResponse
			p, err = s.put(op.GetRequestPut(), saved+1)
			one.Response = &pb.ResponseOp_ResponsePut{ResponsePut: p}
		case op.GetRequestDeleteRange() != nil:
			one.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: s.del(op.GetRequestDeleteRange(), saved+1)}
		case op.GetRequestRange() != nil:
			var g *pb.RangeResponse
			g, err = s.rangeKVs(op.GetRequestRange())
			one.Response = &pb.ResponseOp_ResponseRange{ResponseRange: g}
		}
		if err != nil {
			return nil, err
		}
		resp.Responses = append(resp.Responses, one)
	}
	s.commit(n)
	resp.Header = s.header()
	for _, one := range resp.Responses { // inner headers carry the revision only
		h := &pb.ResponseHeader{Revision: s.rev}
		switch r := one.Response.(type) {
		case *pb.ResponseOp_ResponsePut:
			r.ResponsePut.Header = h
		case *pb.ResponseOp_ResponseRange:
			r.ResponseRange.Header = h
		case *pb.ResponseOp_ResponseDeleteRange:
			r.ResponseDeleteRange.Header = h
		}
	}
	return resp, nil
}

// Set puts keys given as k=v words, for tests that prepare a keyspace.
func (s *Server) Set(pairs ...string) {
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		s.Put(context.Background(), &pb.PutRequest{Key: []byte(k), Value: []byte(v)})
	}
}
