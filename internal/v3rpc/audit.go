package v3rpc

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/audit"
	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/wire"
)

// audited is a call that the audit log is to know of.
type audited struct {
	*core
	ctx  context.Context
	mu   sync.Mutex // of what follows: a stream may receive in another goroutine
	rec  audit.Record
	told bool // the record is written when the first message has come: the call may go on for days

	who atomic.Pointer[auth.Identity]
}

type auditedKey struct{}

// follow begins the record of a call, whose context says where it comes from and learns whom.
func (c *core) follow(ctx context.Context, method string) *audited {
	a := &audited{core: c, rec: audit.Record{Began: time.Now(), API: "v3", Method: method, Class: classOf(method)}}
	a.rec.From, a.rec.Gateway = source(ctx)
	a.ctx = context.WithValue(ctx, auditedKey{}, a)
	return a
}

// found notes whom a call comes from.
func (c *core) found(ctx context.Context, id auth.Identity) {
	if c.cfg.Audit == nil {
		return
	}
	if a, ok := ctx.Value(auditedKey{}).(*audited); ok {
		a.who.Store(&id)
	}
}

// user is whom the call comes from, also if nobody has asked yet.
func (a *audited) user() string {
	if a.who.Load() == nil {
		_, _ = a.identify(a.ctx) // found keeps it
	}
	if id := a.who.Load(); id != nil && id.User != "" {
		return id.User
	}
	if a.View().Auth.Enabled && tokenOf(a.ctx) != "" {
		return "" // the token counts, and is none
	}
	return a.certificate(a.ctx)
}

// first looks at a stream's first message.
func (a *audited) first(m any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	describe(&a.rec, m)
	switch a.rec.Method {
	case pb.Lease_LeaseKeepAlive_FullMethodName, ObserveMethod, healthWatchMethod:
		a.told = true
		a.write(codes.OK, "", false)
	}
}

const healthWatchMethod = "/grpc.health.v1.Health/Watch"

// end writes the record of a call, or of how it ended if it was in the log before.
func (a *audited) end(resp any, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	code, text := outcome(err)
	refused := refusesCaller(a.rec.Method, code, text)
	switch {
	case a.rec.Method == pb.Watch_Watch_FullMethodName: // its requests have records of their own
		if err == nil || a.who.Load() != nil || code == codes.Canceled {
			return
		}
	case a.told && !refused:
		return
	}
	a.rec.Revision = revisionOf(resp)
	if a.rec.Method == pb.KV_Txn_FullMethodName && err == nil {
		a.rec.Succeeded = new(txnSucceeded(resp))
	}
	describeAnswer(&a.rec, resp)
	a.write(code, text, refused)
}

func (a *audited) write(code codes.Code, text string, refused bool) {
	r := &a.rec
	if !a.cfg.Audit.Wants(r.Class, refused) {
		return
	}
	r.Code, r.Error, r.Refused, r.User = code.String(), text, refused, a.user()
	a.cfg.Audit.Write(r)
}

// watchRequest writes the record of a request on a watch stream.
func (c *core) watchRequest(ctx context.Context, q *pb.WatchRequest, err error) {
	if c.cfg.Audit == nil {
		return
	}
	a := c.follow(ctx, pb.Watch_Watch_FullMethodName)
	switch r := q.GetRequestUnion().(type) {
	case *pb.WatchRequest_CreateRequest:
		a.rec.Method += " create"
		a.rec.Touch("watch", "", r.CreateRequest.Key, r.CreateRequest.RangeEnd)
		if id := r.CreateRequest.WatchId; id != 0 {
			a.rec.Watch = &id
		}
	case *pb.WatchRequest_CancelRequest:
		a.rec.Method += " cancel"
		a.rec.Watch = &r.CancelRequest.WatchId
	}
	code, text := outcome(err)
	refused := refusesCaller(a.rec.Method, code, text)
	a.write(code, text, refused)
	c.found(ctx, auth.Identity{}) // the stream has told of itself
}

func outcome(err error) (codes.Code, string) {
	if err == nil {
		return codes.OK, ""
	}
	var known *wire.Error
	switch {
	case errors.As(err, &known):
		return known.Code(), known.Error()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(err).Code(), err.Error()
	}
	s := status.Convert(err)
	return s.Code(), s.Message()
}

// refusesCaller reports whether an answer is what it is because of who calls.
func refusesCaller(method string, code codes.Code, text string) bool {
	return code == codes.PermissionDenied || code == codes.Unauthenticated ||
		code != codes.OK && method == pb.Auth_Authenticate_FullMethodName ||
		slices.ContainsFunc(refusals, func(e *wire.Error) bool { return strings.HasSuffix(text, e.Error()) })
}

// refusals are those that some services pass on under another code.
var refusals = []*wire.Error{wire.ErrPermissionDenied, wire.ErrUserEmpty, wire.ErrInvalidAuthToken}

// classOf says what a method is about as far as its name tells. What is not known matters.
func classOf(method string) audit.Class {
	if c, ok := methodClasses[method]; ok {
		return c
	}
	return audit.Admin
}

var methodClasses = map[string]audit.Class{
	pb.KV_Range_FullMethodName: audit.Read, pb.KV_RangeStream_FullMethodName: audit.Read, pb.Watch_Watch_FullMethodName: audit.Read,
	pb.Lease_LeaseTimeToLive_FullMethodName: audit.Read, pb.Lease_LeaseLeases_FullMethodName: audit.Read,
	pb.Cluster_MemberList_FullMethodName: audit.Read, pb.Maintenance_Status_FullMethodName: audit.Read,
	pb.Maintenance_Hash_FullMethodName: audit.Read, pb.Maintenance_HashKV_FullMethodName: audit.Read,
	pb.Auth_AuthStatus_FullMethodName: audit.Read, pb.Auth_UserGet_FullMethodName: audit.Read, pb.Auth_UserList_FullMethodName: audit.Read,
	pb.Auth_RoleGet_FullMethodName: audit.Read, pb.Auth_RoleList_FullMethodName: audit.Read,
	LeaderMethod: audit.Read, ObserveMethod: audit.Read, ListLimitsMethod: audit.Read,
	"/grpc.health.v1.Health/Check": audit.Read, "/grpc.health.v1.Health/List": audit.Read, healthWatchMethod: audit.Read,

	pb.KV_Put_FullMethodName: audit.Write, pb.KV_DeleteRange_FullMethodName: audit.Write, pb.KV_Txn_FullMethodName: audit.Write,
	pb.KV_Compact_FullMethodName: audit.Write, pb.Lease_LeaseGrant_FullMethodName: audit.Write,
	pb.Lease_LeaseRevoke_FullMethodName: audit.Write, pb.Lease_LeaseKeepAlive_FullMethodName: audit.Write,
	LockMethod: audit.Write, UnlockMethod: audit.Write, CampaignMethod: audit.Write, ProclaimMethod: audit.Write, ResignMethod: audit.Write,
}

// describe puts down what a request is about. It leaves out what it cannot read, and everything that may be a secret: it takes
// the fields that it names, and no others.
func describe(r *audit.Record, req any) {
	switch q := req.(type) {
	case *raw:
		describeBody(r, q.b)
	case *pb.LeaseGrantRequest:
		r.Leases = some(q.ID)
	case *pb.LeaseRevokeRequest:
		r.Leases = []int64{q.ID}
	case *pb.LeaseTimeToLiveRequest:
		r.Leases = []int64{q.ID}
	case *pb.MemberRemoveRequest:
		r.Members = []uint64{q.ID}
	case *pb.MemberUpdateRequest:
		r.Members = []uint64{q.ID}
	case *pb.MemberPromoteRequest:
		r.Members = []uint64{q.ID}
	case *pb.MoveLeaderRequest:
		r.Members = []uint64{q.TargetID}
	case *pb.AlarmRequest:
		r.Members = []uint64{q.MemberID}
		if q.Action == pb.AlarmRequest_GET {
			r.Class = audit.Read
		}
	case *pb.AuthenticateRequest:
		r.Login = q.Name
	case *pb.AuthUserAddRequest:
		r.OfUser = q.Name
	case *pb.AuthUserGetRequest:
		r.OfUser = q.Name
	case *pb.AuthUserDeleteRequest:
		r.OfUser = q.Name
	case *pb.AuthUserChangePasswordRequest:
		r.OfUser = q.Name
	case *pb.AuthUserGrantRoleRequest:
		r.OfUser, r.OfRole = q.User, q.Role
	case *pb.AuthUserRevokeRoleRequest:
		r.OfUser, r.OfRole = q.Name, q.Role
	case *pb.AuthRoleAddRequest:
		r.OfRole = q.Name
	case *pb.AuthRoleGetRequest:
		r.OfRole = q.Role
	case *pb.AuthRoleDeleteRequest:
		r.OfRole = q.Role
	case *pb.AuthRoleGrantPermissionRequest:
		r.OfRole, r.Permission = q.Name, q.GetPerm().GetPermType().String()
		r.Touch("grant", "", q.GetPerm().GetKey(), q.GetPerm().GetRangeEnd())
	case *pb.AuthRoleRevokePermissionRequest:
		r.OfRole = q.Role
		r.Touch("revoke", "", q.Key, q.RangeEnd)
	}
}

// describeBody reads a request that nobody has decoded.
func describeBody(r *audit.Record, b []byte) {
	var name, key []byte
	var lease int64
	switch r.Method {
	case pb.KV_Range_FullMethodName, pb.KV_RangeStream_FullMethodName:
		if q, ok := wire.ParseRangeRequest(b); ok {
			r.Touch("range", "", q.Key, q.End)
		}
	case pb.KV_Put_FullMethodName:
		if q, ok := wire.ParsePut(b); ok {
			r.Touch("put", "", q.Key, nil)
			r.Leases = some(q.Lease)
		}
	case pb.KV_DeleteRange_FullMethodName:
		if q, ok := wire.ParseDelete(b); ok {
			r.Touch("delete", "", q.Key, q.End)
		}
	case pb.KV_Txn_FullMethodName:
		if t, ok := wire.ParseTxn(b); ok {
			if t.ReadOnly() {
				r.Class = audit.Read
			}
			describeTxn(r, t, "")
		}
	case pb.Lease_LeaseKeepAlive_FullMethodName:
		if id, ok := wire.ParseLeaseID(b); ok {
			r.Leases = some(id)
		}
	case LockMethod, CampaignMethod:
		d := decoder{bytes: byteFields{1: &name}, ints: intFields{2: &lease}}
		if d.decode(b) {
			r.Touch("claim", "", name, nil)
			r.Leases = some(lease)
		}
	case UnlockMethod:
		d := decoder{bytes: byteFields{1: &key}}
		if d.decode(b) {
			r.Touch("delete", "", key, nil)
		}
	case LeaderMethod, ObserveMethod:
		if name, err := electionName(b); err == nil {
			r.Touch("claims", "", name, nil)
		}
	case ProclaimMethod, ResignMethod:
		var k leaderKey
		d := decoder{sub: map[protowire.Number]func([]byte) bool{1: k.parse}}
		if d.decode(b) {
			op := "put"
			if r.Method == ResignMethod {
				op = "delete"
			}
			r.Touch(op, "", k.key, nil)
			r.Leases = some(k.lease)
		}
	}
}

func some(lease int64) []int64 {
	if lease == 0 {
		return nil
	}
	return []int64{lease}
}

// describeTxn tells writes and reads of both branches, and then what is compared. Those of a nested one are in the branch that it
// is in itself.
func describeTxn(r *audit.Record, t *wire.TxnRequest, in string) {
	for i, branch := range [][]wire.Op{t.Success, t.Failure} {
		name := in
		if name == "" {
			name = [...]string{"success", "failure"}[i]
		}
		for j := range branch {
			switch op := &branch[j]; {
			case op.Range != nil:
				r.Touch("range", name, op.Range.Key, op.Range.End)
			case op.Put != nil:
				r.Touch("put", name, op.Put.Key, nil)
			case op.Delete != nil:
				r.Touch("delete", name, op.Delete.Key, op.Delete.End)
			case op.Txn != nil:
				describeTxn(r, op.Txn, name)
			}
		}
	}
	for i := range t.Compare {
		r.Touch("compare", in, t.Compare[i].Key, t.Compare[i].End)
	}
}

// describeAnswer puts down the IDs that the server has chosen.
func describeAnswer(r *audit.Record, resp any) {
	switch a := resp.(type) {
	case *pb.LeaseGrantResponse:
		r.Leases = []int64{a.ID}
	case *pb.MemberAddResponse:
		r.Members = []uint64{a.GetMember().GetID()}
	}
}

// revisionOf is the revision that an answer's header tells, 0 if there is none.
func revisionOf(resp any) int64 {
	switch a := resp.(type) {
	case *wire.Frame:
		h, _ := head(a)
		var rev int64
		d := decoder{ints: intFields{3: &rev}}
		d.decode(h)
		return rev
	case interface{ GetHeader() *pb.ResponseHeader }:
		return a.GetHeader().GetRevision()
	}
	return 0
}

// head is the header of an answer, and what is behind it in the same buffer.
func head(f *wire.Frame) (header, rest []byte) {
	if len(f.Bufs) == 0 {
		return nil, nil
	}
	num, typ, n := protowire.ConsumeTag(f.Bufs[0])
	if n < 0 || num != 1 || typ != protowire.BytesType {
		return nil, nil
	}
	header, m := protowire.ConsumeBytes(f.Bufs[0][n:])
	if m < 0 {
		return nil, nil
	}
	return header, f.Bufs[0][n+m:]
}

func txnSucceeded(resp any) bool {
	f, ok := resp.(*wire.Frame)
	if !ok {
		return false
	}
	_, rest := head(f)
	num, typ, n := protowire.ConsumeTag(rest)
	return n > 0 && num == 2 && typ == protowire.VarintType
}
