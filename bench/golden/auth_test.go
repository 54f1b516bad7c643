package golden

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// authRun compares two servers while users, roles and permissions change, and all kinds of callers ask for all kinds of things.
type authRun struct {
	t      *testing.T
	rnd    *rand.Rand
	sides  [2]*side
	tokens map[string][2]string // of the last login of a user; "" for nobody
	stale  [][2]string          // tokens of earlier logins
	lines  []string             // what was asked lately
	there  map[string]bool      // users with passwords
	done   map[string]int
}

var authUsers = []string{"root", "u0", "u1", "u2"}

// call asks both servers as somebody, and compares.
func (r *authRun) call(who string, tokens [2]string, method string, q, resp proto.Message) (ok bool, answers [2]proto.Message) {
	r.t.Helper()
	var got [2]answer
	for i, s := range r.sides {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		if tokens[i] != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "token", tokens[i])
		}
		a := proto.Clone(resp)
		if err := s.conn.Invoke(ctx, method, q, a); err != nil {
			got[i] = failed(err)
		} else {
			got[i] = answer{msg: a}
		}
		cancel()
	}
	line := fmt.Sprintf("%s: %s %s", who, method, text(q))
	r.lines = append(r.lines, line+" -> "+got[0].String())
	answers = [2]proto.Message{got[0].msg, got[1].msg}
	compared := got
	for i := range compared {
		if m, ok := compared[i].msg.(*pb.AuthenticateResponse); ok {
			compared[i].msg = &pb.AuthenticateResponse{Header: m.Header} // tokens are drawn by lot
		}
	}
	if !same(&op{method: method, req: q}, compared[0], compared[1], nil) {
		for _, l := range r.lines[max(0, len(r.lines)-40):] {
			r.t.Log(l)
		}
		r.t.Fatalf("%s\netcd:  %s\ncairn: %s", line, got[0], got[1])
	}
	r.done[method]++
	return got[0].err == nil, answers
}

func (r *authRun) pick(from ...string) string { return from[r.rnd.IntN(len(from))] }

func (r *authRun) one(n int) bool { return r.rnd.IntN(n) == 0 }

// caller is who asks next.
func (r *authRun) caller() (string, [2]string) {
	switch n := r.rnd.IntN(20); {
	case n == 0:
		return "nobody", [2]string{}
	case n == 1:
		return "a token that is none", [2]string{"nonsense", "nonsense"}
	case n == 2:
		return "a token that never was", [2]string{"abcdefghijklmnop.1", "abcdefghijklmnop.1"}
	case n == 3 && len(r.stale) > 0:
		return "an old token", r.stale[r.rnd.IntN(len(r.stale))]
	}
	who := r.pick(authUsers...)
	return who, r.tokens[who]
}

func (r *authRun) login(user, password string) {
	ok, a := r.call("nobody", [2]string{}, pb.Auth_Authenticate_FullMethodName, &pb.AuthenticateRequest{Name: user, Password: password}, &pb.AuthenticateResponse{})
	if !ok {
		return
	}
	if old := r.tokens[user]; old[0] != "" {
		r.stale = append(r.stale, old)
		if len(r.stale) > 20 {
			r.stale = r.stale[1:]
		}
	}
	r.tokens[user] = [2]string{a[0].(*pb.AuthenticateResponse).Token, a[1].(*pb.AuthenticateResponse).Token}
}

func (r *authRun) key() []byte { return []byte(r.pick("a", "aa", "b", "bb", "c", "d", "\x00", "z")) }

func (r *authRun) end(key []byte) []byte {
	switch r.rnd.IntN(6) {
	case 0, 1, 2:
		return nil
	case 3:
		return []byte{0}
	case 4:
		return append(append([]byte(nil), key...), 0)
	}
	return []byte(r.pick("a", "b", "c", "d", "e", "zz"))
}

func (r *authRun) lease() int64 { return int64(1 + r.rnd.IntN(4)) }

// manage is a request that changes or shows users and roles.
func (r *authRun) manage() (method string, q, resp proto.Message) {
	user, role := r.pick(append(authUsers, "")...), r.pick("root", "r0", "r1", "r2", "")
	switch r.rnd.IntN(14) {
	case 0:
		return pb.Auth_UserAdd_FullMethodName, &pb.AuthUserAddRequest{Name: user, Password: "pw", Options: &authpb.UserAddOptions{NoPassword: r.one(6)}}, &pb.AuthUserAddResponse{}
	case 1:
		return pb.Auth_UserDelete_FullMethodName, &pb.AuthUserDeleteRequest{Name: user}, &pb.AuthUserDeleteResponse{}
	case 2:
		return pb.Auth_UserChangePassword_FullMethodName, &pb.AuthUserChangePasswordRequest{Name: user, Password: "pw"}, &pb.AuthUserChangePasswordResponse{}
	case 3, 4:
		return pb.Auth_UserGrantRole_FullMethodName, &pb.AuthUserGrantRoleRequest{User: user, Role: role}, &pb.AuthUserGrantRoleResponse{}
	case 5:
		return pb.Auth_UserRevokeRole_FullMethodName, &pb.AuthUserRevokeRoleRequest{Name: user, Role: role}, &pb.AuthUserRevokeRoleResponse{}
	case 6:
		return pb.Auth_RoleAdd_FullMethodName, &pb.AuthRoleAddRequest{Name: role}, &pb.AuthRoleAddResponse{}
	case 7:
		return pb.Auth_RoleDelete_FullMethodName, &pb.AuthRoleDeleteRequest{Role: role}, &pb.AuthRoleDeleteResponse{}
	case 8, 9:
		var p *authpb.Permission
		if !r.one(15) {
			key := r.key()
			if r.one(15) {
				key = nil
			}
			p = &authpb.Permission{PermType: authpb.Permission_Type(r.rnd.IntN(3)), Key: key, RangeEnd: r.end(key)}
		}
		return pb.Auth_RoleGrantPermission_FullMethodName, &pb.AuthRoleGrantPermissionRequest{Name: role, Perm: p}, &pb.AuthRoleGrantPermissionResponse{}
	case 10:
		key := r.key()
		return pb.Auth_RoleRevokePermission_FullMethodName, &pb.AuthRoleRevokePermissionRequest{Role: role, Key: key, RangeEnd: r.end(key)}, &pb.AuthRoleRevokePermissionResponse{}
	case 11:
		return pb.Auth_UserGet_FullMethodName, &pb.AuthUserGetRequest{Name: user}, &pb.AuthUserGetResponse{}
	case 12:
		return pb.Auth_RoleGet_FullMethodName, &pb.AuthRoleGetRequest{Role: role}, &pb.AuthRoleGetResponse{}
	}
	switch r.rnd.IntN(4) {
	case 0:
		return pb.Auth_UserList_FullMethodName, &pb.AuthUserListRequest{}, &pb.AuthUserListResponse{}
	case 1:
		return pb.Auth_RoleList_FullMethodName, &pb.AuthRoleListRequest{}, &pb.AuthRoleListResponse{}
	case 2:
		return pb.Auth_AuthEnable_FullMethodName, &pb.AuthEnableRequest{}, &pb.AuthEnableResponse{}
	}
	return pb.Auth_AuthStatus_FullMethodName, &pb.AuthStatusRequest{}, &pb.AuthStatusResponse{}
}

func (r *authRun) rangeRequest() *pb.RangeRequest {
	key := r.key()
	return &pb.RangeRequest{Key: key, RangeEnd: r.end(key), Serializable: r.one(3), CountOnly: r.one(5)}
}

func (r *authRun) putRequest() *pb.PutRequest {
	q := &pb.PutRequest{Key: r.key(), Value: []byte("v"), PrevKv: r.one(3)}
	if r.one(4) {
		q.Lease = r.lease()
	}
	return q
}

func (r *authRun) deleteRequest() *pb.DeleteRangeRequest {
	key := r.key()
	return &pb.DeleteRangeRequest{Key: key, RangeEnd: r.end(key), PrevKv: r.one(3)}
}

func (r *authRun) ops(depth int) (out []*pb.RequestOp) {
	put := map[string]bool{}
	for range r.rnd.IntN(3) {
		switch n := r.rnd.IntN(6); {
		case n < 3:
			out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r.rangeRequest()}})
		case n == 3 && depth > 0:
			out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r.txnRequest(depth - 1)}})
		default:
			if q := r.putRequest(); !put[string(q.Key)] {
				put[string(q.Key)] = true
				out = append(out, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: q}})
			}
		}
	}
	return out
}

func (r *authRun) txnRequest(depth int) *pb.TxnRequest {
	q := &pb.TxnRequest{Success: r.ops(depth), Failure: r.ops(depth)}
	if r.one(2) {
		key := r.key()
		q.Compare = append(q.Compare, &pb.Compare{Key: key, RangeEnd: r.end(key), Target: pb.Compare_CREATE, Result: pb.Compare_GREATER,
			TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0}})
	}
	return q
}

// use is a request for anything but users and roles.
func (r *authRun) use() (method string, q, resp proto.Message) {
	switch r.rnd.IntN(22) {
	case 0, 1, 2, 3:
		return put, r.putRequest(), &pb.PutResponse{}
	case 4, 5, 6, 7:
		return kvRange, r.rangeRequest(), &pb.RangeResponse{}
	case 8, 9:
		return deleteRange, r.deleteRequest(), &pb.DeleteRangeResponse{}
	case 10, 11, 12, 13:
		return txn, r.txnRequest(1), &pb.TxnResponse{}
	case 14:
		return leaseGrant, &pb.LeaseGrantRequest{ID: r.lease(), TTL: 10000}, &pb.LeaseGrantResponse{}
	case 15:
		return leaseRevoke, &pb.LeaseRevokeRequest{ID: r.lease()}, &pb.LeaseRevokeResponse{}
	case 16:
		return timeToLive, &pb.LeaseTimeToLiveRequest{ID: r.lease(), Keys: r.one(2)}, &pb.LeaseTimeToLiveResponse{}
	case 17:
		return leaseLeases, &pb.LeaseLeasesRequest{}, &pb.LeaseLeasesResponse{}
	case 18:
		return compact, &pb.CompactionRequest{Revision: 1}, &pb.CompactionResponse{}
	case 19:
		return memberList, &pb.MemberListRequest{Linearizable: r.one(2)}, &pb.MemberListResponse{}
	case 20:
		return alarm, &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(r.rnd.IntN(3)), Alarm: pb.AlarmType_NONE}, &pb.AlarmResponse{}
	}
	return hashKV, &pb.HashKVRequest{}, &pb.HashKVResponse{}
}

// watch begins to watch as somebody, and compares the first answer.
func (r *authRun) watch(who string, tokens [2]string) {
	r.t.Helper()
	key := r.key()
	if r.one(10) {
		key = nil
	}
	q := &pb.WatchCreateRequest{Key: key, RangeEnd: r.end(key), StartRevision: int64(r.rnd.IntN(3) - 1)}
	var got [2]answer
	for i, s := range r.sides {
		ctx, cancel := context.WithTimeout(context.Background(), callLimit)
		if tokens[i] != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "token", tokens[i])
		}
		w, err := pb.NewWatchClient(s.conn).Watch(ctx)
		if err == nil {
			err = w.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: q}})
		}
		var a *pb.WatchResponse
		if err == nil {
			a, err = w.Recv()
		}
		if err != nil {
			got[i] = failed(err)
		} else {
			got[i] = answer{msg: a}
		}
		cancel()
	}
	line := fmt.Sprintf("%s: watch %s", who, text(q))
	r.lines = append(r.lines, line+" -> "+got[0].String())
	if !same(&op{req: q}, got[0], got[1], nil) {
		r.t.Fatalf("%s\netcd:  %s\ncairn: %s", line, got[0], got[1])
	}
	r.done["watch"]++
}

// TestAuth compares who may do what.
func TestAuth(t *testing.T) {
	for i := range *runs {
		seed := *seeds + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := &authRun{t: t, rnd: rand.New(rand.NewPCG(seed, 5)), tokens: map[string][2]string{}, done: map[string]int{}, there: map[string]bool{"root": true}}
			for i, p := range both() {
				r.sides[i] = start(t, p, "--bcrypt-cost", "4", "--auth-token-ttl", "10000")
			}
			as := func(who, method string, q, resp proto.Message) { r.call(who, r.tokens[who], method, q, resp) }
			as("nobody", pb.Auth_AuthEnable_FullMethodName, &pb.AuthEnableRequest{}, &pb.AuthEnableResponse{})
			as("nobody", pb.Auth_UserAdd_FullMethodName, &pb.AuthUserAddRequest{Name: "root", Password: "pw"}, &pb.AuthUserAddResponse{})
			as("nobody", pb.Auth_AuthEnable_FullMethodName, &pb.AuthEnableRequest{}, &pb.AuthEnableResponse{})
			as("nobody", pb.Auth_UserGrantRole_FullMethodName, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"}, &pb.AuthUserGrantRoleResponse{})
			enabled := false
			for n := range *ops {
				switch {
				case !enabled:
					as("nobody", pb.Auth_AuthEnable_FullMethodName, &pb.AuthEnableRequest{}, &pb.AuthEnableResponse{})
					r.login("root", "pw")
					enabled = true
				case n%400 == 399:
					as("root", pb.Auth_AuthDisable_FullMethodName, &pb.AuthDisableRequest{}, &pb.AuthDisableResponse{})
					enabled = false
					for range 5 { // and nobody asks who it is
						who, tokens := r.caller()
						method, q, resp := r.use()
						r.call(who, tokens, method, q, resp)
					}
				case n%25 == 0:
					// Those who fail again and again have to wait, which is not what is compared here.
					if user := r.pick(authUsers...); r.there[user] || r.one(20) {
						r.login(user, "pw")
					}
				case n%500 == 7:
					r.login(r.pick(authUsers...), "wrong")
				case n%3 == 0:
					who, tokens := "root", r.tokens["root"]
					if r.one(4) {
						who, tokens = r.caller()
					}
					method, q, resp := r.manage()
					ok, _ := r.call(who, tokens, method, q, resp)
					switch q := q.(type) {
					case *pb.AuthUserAddRequest:
						r.there[q.Name] = r.there[q.Name] || ok && !q.Options.NoPassword
					case *pb.AuthUserDeleteRequest:
						r.there[q.Name] = r.there[q.Name] && !ok
					}
					if method == pb.Auth_UserChangePassword_FullMethodName && q.(*pb.AuthUserChangePasswordRequest).Name == "root" {
						r.login("root", "pw") // its token went with the old password
					}
				case n%10 == 1:
					who, tokens := r.caller()
					r.watch(who, tokens)
				default:
					who, tokens := r.caller()
					method, q, resp := r.use()
					r.call(who, tokens, method, q, resp)
				}
			}
			t.Log(r.done)
		})
	}
}
