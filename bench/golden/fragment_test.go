package golden

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// fragmentLimit is what no answer may be larger than, if its watcher takes fragments.
const fragmentLimit = 1_572_864 + 512<<10

func watchOf(t *testing.T, s *side, q *pb.WatchCreateRequest) pb.Watch_WatchClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	w, err := pb.NewWatchClient(s.conn).Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}}); err != nil {
		t.Fatal(err)
	}
	if r, err := w.Recv(); err != nil || !r.Created || r.Canceled {
		t.Fatal(r, err)
	}
	return w
}

// TestFragmentsOfThePast: how much of the past comes in one answer is the server's choice, but no answer is too large and
// no revision is cut without saying so.
func TestFragmentsOfThePast(t *testing.T) {
	for _, p := range both() {
		s := start(t, p)
		kv := pb.NewKVClient(s.conn)
		for i := range 9 {
			q := &pb.TxnRequest{}
			for j := range 3 {
				q.Success = append(q.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{
					Key: fmt.Appendf(nil, "k%d", j), Value: bytes.Repeat([]byte{'x'}, 40_000*(i+1))}}})
			}
			if _, err := kv.Txn(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		w := watchOf(t, s, &pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), StartRevision: 2, Fragment: true})
		for events := 0; events < 27; {
			r, err := w.Recv()
			if err != nil {
				t.Fatalf("%s after %d events: %v", p.Kind, events, err)
			}
			if n := proto.Size(r); n > fragmentLimit {
				t.Errorf("%s: an answer of %d bytes", p.Kind, n)
			}
			for _, e := range r.Events {
				if want := int64(2 + events/3); e.Kv.ModRevision != want || string(e.Kv.Key) != fmt.Sprintf("k%d", events%3) {
					t.Fatalf("%s: event %d is %s@%d", p.Kind, events, e.Kv.Key, e.Kv.ModRevision)
				}
				events++
			}
			if events%3 != 0 && !r.Fragment {
				t.Errorf("%s: a revision was cut after %d events", p.Kind, events)
			}
		}
	}
}

// TestFragmentsOfOneRevision: both cut one large revision at the same places.
func TestFragmentsOfOneRevision(t *testing.T) {
	var got [2][]int
	for i, p := range both() {
		s := start(t, p)
		kv := pb.NewKVClient(s.conn)
		const keys = 11
		for k := range keys {
			if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", k), Value: bytes.Repeat([]byte{'x'}, 100_000*(k+1))}); err != nil {
				t.Fatal(err)
			}
		}
		q := &pb.WatchCreateRequest{Key: []byte("k"), RangeEnd: []byte("l"), PrevKv: true, Fragment: true}
		w := watchOf(t, s, q)
		q.Fragment = false
		whole := watchOf(t, s, q)
		if _, err := kv.DeleteRange(t.Context(), &pb.DeleteRangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}); err != nil {
			t.Fatal(err)
		}
		for events := 0; events < keys; {
			r, err := w.Recv()
			if err != nil {
				t.Fatalf("%s after %v: %v", p.Kind, got[i], err)
			}
			events += len(r.Events)
			got[i] = append(got[i], len(r.Events))
			if r.Fragment != (events < keys) {
				t.Errorf("%s: fragment is %v after %d events of %d", p.Kind, r.Fragment, events, keys)
			}
		}
		if r, err := whole.Recv(); err != nil || len(r.Events) != keys || r.Fragment {
			t.Errorf("%s: without fragments: %d events, fragment %v, %v", p.Kind, len(r.GetEvents()), r.GetFragment(), err)
		}
	}
	if !slices.Equal(got[0], got[1]) {
		t.Errorf("events per fragment: etcd %v, cairn %v", got[0], got[1])
	}
}

// TestProgressNotify: an idle watcher that asked for it is told of progress, again and again, with the current revision.
func TestProgressNotify(t *testing.T) {
	for _, p := range both() {
		s := start(t, p, "--watch-progress-notify-interval", "300ms")
		w := watchOf(t, s, &pb.WatchCreateRequest{Key: []byte("quiet")})
		if err := w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: []byte("told"), ProgressNotify: true}}}); err != nil {
			t.Fatal(err)
		}
		if r, err := w.Recv(); err != nil || !r.Created {
			t.Fatal(r, err)
		}
		if _, err := pb.NewKVClient(s.conn).Put(t.Context(), &pb.PutRequest{Key: []byte("other")}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r, err := w.Recv()
			if err != nil {
				t.Fatalf("%s: %v", p.Kind, err)
			}
			if r.WatchId != 1 || len(r.Events) != 0 || r.Header.GetRevision() != 2 {
				t.Errorf("%s: %s", p.Kind, text(r))
			}
		}
	}
}
