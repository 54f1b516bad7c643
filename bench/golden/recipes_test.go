package golden

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	lockMethod     = "/v3lockpb.Lock/Lock"
	unlockMethod   = "/v3lockpb.Lock/Unlock"
	campaignMethod = "/v3electionpb.Election/Campaign"
	proclaimMethod = "/v3electionpb.Election/Proclaim"
	leaderMethod   = "/v3electionpb.Election/Leader"
	observeMethod  = "/v3electionpb.Election/Observe"
	resignMethod   = "/v3electionpb.Election/Resign"
)

// step is one call to the lock or election service, or to another one on the way. A call that waits is left after a
// moment, and its answer is the code of that.
type step struct {
	method string
	req    any // a message or bytes
	resp   proto.Message
	wait   time.Duration // 0 stands for callLimit
}

// recipeScript leaves every call its lease, because those that a server picks differ.
func recipeScript() []step {
	lock := func(name string, lease int64) step {
		return step{lockMethod, &v3lockpb.LockRequest{Name: []byte(name), Lease: lease}, &v3lockpb.LockResponse{}, 0}
	}
	unlock := func(key string) step {
		return step{unlockMethod, &v3lockpb.UnlockRequest{Key: []byte(key)}, &v3lockpb.UnlockResponse{}, 0}
	}
	campaign := func(name string, lease int64, value string) step {
		return step{campaignMethod, &v3electionpb.CampaignRequest{Name: []byte(name), Lease: lease, Value: []byte(value)}, &v3electionpb.CampaignResponse{}, 0}
	}
	proclaim := func(who *v3electionpb.LeaderKey, value string) step {
		return step{proclaimMethod, &v3electionpb.ProclaimRequest{Leader: who, Value: []byte(value)}, &v3electionpb.ProclaimResponse{}, 0}
	}
	resign := func(who *v3electionpb.LeaderKey) step {
		return step{resignMethod, &v3electionpb.ResignRequest{Leader: who}, &v3electionpb.ResignResponse{}, 0}
	}
	leader := func(name string) step {
		return step{leaderMethod, &v3electionpb.LeaderRequest{Name: []byte(name)}, &v3electionpb.LeaderResponse{}, 0}
	}
	all := step{"/etcdserverpb.KV/Range", &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}, &pb.RangeResponse{}, 0}
	revoke := func(id int64) step {
		return step{"/etcdserverpb.Lease/LeaseRevoke", &pb.LeaseRevokeRequest{ID: id}, &pb.LeaseRevokeResponse{}, 0}
	}
	briefly := func(s step) step { s.wait = 300 * time.Millisecond; return s }
	var out []step
	for id := range int64(6) {
		out = append(out, step{"/etcdserverpb.Lease/LeaseGrant", &pb.LeaseGrantRequest{ID: id + 1, TTL: 600}, &pb.LeaseGrantResponse{}, 0})
	}
	key := func(name string, rev, lease int64) *v3electionpb.LeaderKey {
		return &v3electionpb.LeaderKey{Name: []byte(name), Key: fmt.Appendf(nil, "%s/%x", name, lease), Rev: rev, Lease: lease}
	}
	return append(out,
		lock("n", 1), lock("n", 1), briefly(lock("n", 2)), all, lock("", 3), lock("n\x00\xff", 3), lock("n", -7), lock("n", 99),
		lock(strings.Repeat("x", 200<<10), 3), lock(strings.Repeat("x", 900<<10), 3),
		unlock(""), unlock("n/1"), unlock("n/1"), lock("n", 2), all, unlock("/3"),
		step{lockMethod, []byte{1, 2, 3}, &v3lockpb.LockResponse{}, 0},
		step{lockMethod, []byte{0x08, 7, 0x10, 5}, &v3lockpb.LockResponse{}, 0}, // the name is a number: a field that is not known
		leader("e"), campaign("e", 4, "v1"), leader("e"), campaign("e", 4, "v2"), leader("e"), briefly(campaign("e", 5, "w")),
		proclaim(nil, "x"), proclaim(&v3electionpb.LeaderKey{}, "x"), resign(nil), resign(&v3electionpb.LeaderKey{}),
		proclaim(key("e", 99, 4), "x"), all, revoke(4), leader("e"), campaign("e", 5, ""), leader("e"), leader(""),
		campaign("", 6, "empty"), leader(""), campaign("e", 99, "x"), campaign("f", 6, "f"), resign(key("f", 1, 6)), leader("f"),
		briefly(step{observeMethod, &v3electionpb.LeaderRequest{Name: []byte("f")}, &v3electionpb.LeaderResponse{}, 0}), all)
}

func (s *side) step(st step) string {
	wait := st.wait
	if wait == 0 {
		wait = callLimit
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	resp := proto.Clone(st.resp)
	var err error
	if st.method == observeMethod {
		var stream grpc.ClientStream
		stream, err = s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, st.method, grpc.ForceCodec(rawCodec{}))
		if err == nil {
			if err = errors.Join(stream.SendMsg(st.req), stream.CloseSend()); err == nil {
				err = stream.RecvMsg(resp)
			}
		}
	} else {
		err = s.conn.Invoke(ctx, st.method, st.req, resp, grpc.ForceCodec(rawCodec{}))
	}
	if err != nil {
		code, text := status.Code(err), failed(err).err.Message()
		if code == codes.Internal || code == codes.DeadlineExceeded {
			text = "" // gRPC's own words
		}
		return fmt.Sprintf("error %s %q", code, text)
	}
	// One member has one history: the headers are equal, too.
	return text(resp)
}

// The lock and the election service answer as etcd's do.
func TestRecipes(t *testing.T) {
	e, c := start(t, etcdProgram), start(t, cairnProgram)
	for i, st := range recipeScript() {
		want, got := e.step(st), c.step(st)
		if want != got {
			t.Errorf("#%d %s %v\n    etcd:  %.300s\n    cairn: %.300s", i, st.method, st.req, want, got)
		}
		if st.wait > 0 {
			time.Sleep(200 * time.Millisecond) // the call's key goes
		}
	}
}
