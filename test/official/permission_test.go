package official

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	userEmpty = "etcdserver: user name is empty"
	denied    = "etcdserver: permission denied"
	badToken  = "etcdserver: invalid auth token"
	anything  = "" // it is answered, or refused for another reason
)

// rule is what nobody is told, and what somebody without permissions is.
type rule struct {
	q               proto.Message // or nil: what is sent is in raw
	raw             []byte
	nobody, nothing string
}

func key(k string) []byte { return []byte(k) }

func limit(fields map[string]any) *structpb.Struct {
	s, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err)
	}
	return s
}

// rules has a row for every method there is (v3-grpc.md section 15.5).
func rules() map[string]rule {
	admin := func(q proto.Message) rule { return rule{q: q, nobody: userEmpty, nothing: denied} }
	known := func(q proto.Message) rule { return rule{q: q, nobody: userEmpty} }
	name := []byte("\x0a\x01n")                    // the first field
	leader := []byte("\x0a\x06\x0a\x01n\x12\x01k") // a LeaderKey in it
	recipe := func(raw []byte) rule { return rule{raw: raw, nobody: userEmpty, nothing: denied} }
	put := &pb.PutRequest{Key: key("k"), Value: key("v")}
	return map[string]rule{
		pb.KV_Range_FullMethodName:       admin(&pb.RangeRequest{Key: key("k")}),
		pb.KV_RangeStream_FullMethodName: admin(&pb.RangeRequest{Key: key("k")}),
		pb.KV_Put_FullMethodName:         admin(put),
		pb.KV_DeleteRange_FullMethodName: admin(&pb.DeleteRangeRequest{Key: key("k")}),
		pb.KV_Txn_FullMethodName: admin(&pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{
			RequestTxn: &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}}}}}}}),
		pb.KV_Compact_FullMethodName: admin(&pb.CompactionRequest{Revision: 1}),

		pb.Watch_Watch_FullMethodName: admin(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: key("k"), RangeEnd: []byte{0}}}}),

		pb.Lease_LeaseGrant_FullMethodName:      known(&pb.LeaseGrantRequest{ID: 7, TTL: 60}),
		pb.Lease_LeaseRevoke_FullMethodName:     admin(&pb.LeaseRevokeRequest{ID: 9}), // of a lease with keys
		pb.Lease_LeaseKeepAlive_FullMethodName:  admin(&pb.LeaseKeepAliveRequest{ID: 9}),
		pb.Lease_LeaseTimeToLive_FullMethodName: admin(&pb.LeaseTimeToLiveRequest{ID: 9, Keys: true}),
		pb.Lease_LeaseLeases_FullMethodName:     admin(&pb.LeaseLeasesRequest{}),

		pb.Cluster_MemberAdd_FullMethodName:     admin(&pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}}),
		pb.Cluster_MemberRemove_FullMethodName:  admin(&pb.MemberRemoveRequest{ID: 1}),
		pb.Cluster_MemberUpdate_FullMethodName:  admin(&pb.MemberUpdateRequest{ID: 1, PeerURLs: []string{"http://127.0.0.1:1"}}),
		pb.Cluster_MemberPromote_FullMethodName: admin(&pb.MemberPromoteRequest{ID: 1}),
		pb.Cluster_MemberList_FullMethodName:    known(&pb.MemberListRequest{}),

		pb.Maintenance_Alarm_FullMethodName:      admin(&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE}),
		pb.Maintenance_Status_FullMethodName:     known(&pb.StatusRequest{}),
		pb.Maintenance_Defragment_FullMethodName: admin(&pb.DefragmentRequest{}),
		pb.Maintenance_Hash_FullMethodName:       admin(&pb.HashRequest{}),
		pb.Maintenance_HashKV_FullMethodName:     admin(&pb.HashKVRequest{}),
		pb.Maintenance_Snapshot_FullMethodName:   admin(&pb.SnapshotRequest{}),
		pb.Maintenance_MoveLeader_FullMethodName: admin(&pb.MoveLeaderRequest{TargetID: 1}),
		pb.Maintenance_Downgrade_FullMethodName:  admin(&pb.DowngradeRequest{Version: "3.6"}),

		pb.Auth_AuthEnable_FullMethodName:           admin(&pb.AuthEnableRequest{}),
		pb.Auth_AuthDisable_FullMethodName:          admin(&pb.AuthDisableRequest{}),
		pb.Auth_AuthStatus_FullMethodName:           {q: &pb.AuthStatusRequest{}},
		pb.Auth_Authenticate_FullMethodName:         {q: &pb.AuthenticateRequest{Name: "ann", Password: "pw"}},
		pb.Auth_UserAdd_FullMethodName:              admin(&pb.AuthUserAddRequest{Name: "new", Password: "pw"}),
		pb.Auth_UserGet_FullMethodName:              admin(&pb.AuthUserGetRequest{Name: "root"}),
		pb.Auth_UserList_FullMethodName:             admin(&pb.AuthUserListRequest{}),
		pb.Auth_UserDelete_FullMethodName:           admin(&pb.AuthUserDeleteRequest{Name: "ann"}),
		pb.Auth_UserChangePassword_FullMethodName:   admin(&pb.AuthUserChangePasswordRequest{Name: "root", Password: "mine"}),
		pb.Auth_UserGrantRole_FullMethodName:        admin(&pb.AuthUserGrantRoleRequest{User: "ann", Role: "root"}),
		pb.Auth_UserRevokeRole_FullMethodName:       admin(&pb.AuthUserRevokeRoleRequest{Name: "ann", Role: "r"}),
		pb.Auth_RoleAdd_FullMethodName:              admin(&pb.AuthRoleAddRequest{Name: "new"}),
		pb.Auth_RoleGet_FullMethodName:              admin(&pb.AuthRoleGetRequest{Role: "root"}),
		pb.Auth_RoleList_FullMethodName:             admin(&pb.AuthRoleListRequest{}),
		pb.Auth_RoleDelete_FullMethodName:           admin(&pb.AuthRoleDeleteRequest{Role: "r"}),
		pb.Auth_RoleGrantPermission_FullMethodName:  admin(&pb.AuthRoleGrantPermissionRequest{Name: "r", Perm: &authpb.Permission{Key: key("k")}}),
		pb.Auth_RoleRevokePermission_FullMethodName: admin(&pb.AuthRoleRevokePermissionRequest{Role: "r", Key: key("k")}),

		"/v3lockpb.Lock/Lock":             recipe(name),
		"/v3lockpb.Lock/Unlock":           recipe(name),
		"/v3electionpb.Election/Campaign": recipe(name),
		"/v3electionpb.Election/Proclaim": recipe(leader),
		"/v3electionpb.Election/Leader":   recipe(name),
		"/v3electionpb.Election/Observe":  recipe(name),
		"/v3electionpb.Election/Resign":   recipe(leader),
		"/cairn.Repair/Heal":              admin(&emptypb.Empty{}),
		"/cairn.Limits/Set":               admin(limit(map[string]any{"kind": "prefix", "name": "aw==", "maxKeys": 1})),
		"/cairn.Limits/Remove":            admin(limit(map[string]any{"kind": "prefix", "name": "aw=="})),
		"/cairn.Limits/List":              admin(&emptypb.Empty{}),
		"/grpc.health.v1.Health/Check":    {raw: []byte{}},
		"/grpc.health.v1.Health/Watch":    {raw: []byte{}},
		"/grpc.health.v1.Health/List":     {raw: []byte{}},
	}
}

// TestEveryMethodHasAPermission asks everything as nobody, as somebody without permissions, and with a token that is none.
func TestEveryMethodHasAPermission(t *testing.T) {
	t.Parallel()
	p := start(t, "--bcrypt-cost", "4")
	c := p.client()
	ctx := within(t, 3*patience)
	rs := rules()
	protoregistry.GlobalFiles.RangeFilesByPackage("etcdserverpb", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				name := fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name())
				require.Contains(t, rs, name, "the method has no row")
			}
		}
		return true
	})
	_, err := c.Grant(ctx, 600)
	require.NoError(t, err)
	_, err = pb.NewLeaseClient(c.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 9, TTL: 600})
	require.NoError(t, err)
	_, err = c.Put(ctx, "k", "v", clientv3.WithLease(9))
	require.NoError(t, err)
	for _, u := range []string{"root", "ann"} {
		_, err = c.UserAdd(ctx, u, "pw")
		require.NoError(t, err)
	}
	_, err = c.RoleAdd(ctx, "r")
	require.NoError(t, err)
	_, err = c.UserGrantRole(ctx, "ann", "r")
	require.NoError(t, err)
	_, err = c.UserGrantRole(ctx, "root", "root")
	require.NoError(t, err)
	_, err = c.AuthEnable(ctx)
	require.NoError(t, err)
	ann, err := pb.NewAuthClient(dial(t, p.addr)).Authenticate(ctx, &pb.AuthenticateRequest{Name: "ann", Password: "pw"})
	require.NoError(t, err)

	conn := dialRaw(t, p.addr)
	for method, r := range rs {
		for token, want := range map[string]string{"": r.nobody, ann.Token: r.nothing, "nonsense": badToken} {
			if token == "nonsense" && r.nobody == anything && method != pb.Auth_AuthStatus_FullMethodName {
				want = anything // nobody looks at the token
			}
			got := ask(t, conn, method, r, token)
			if want == anything {
				require.False(t, strings.HasPrefix(got, userEmpty) || strings.HasPrefix(got, denied) || strings.HasPrefix(got, badToken), "%s: %s", method, got)
			} else {
				require.Contains(t, got, want, "%s with token %q", method, token)
			}
		}
	}
	// Nothing of it has had an effect.
	root := p.client(func(cfg *clientv3.Config) { cfg.Username, cfg.Password = "root", "pw" })
	get, err := root.Get(ctx, "k")
	require.NoError(t, err)
	require.Len(t, get.Kvs, 1)
	users, err := root.UserList(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"ann", "root"}, users.Users)
}

// ask sends one message and returns the error's text, or that of the first answer that tells of one.
func ask(t *testing.T, conn *grpc.ClientConn, method string, r rule, token string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "token", token)
	}
	body := r.raw
	if r.q != nil {
		var err error
		body, err = proto.Marshal(r.q)
		require.NoError(t, err)
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	require.NoError(t, err)
	require.NoError(t, st.SendMsg(&body))
	if method != pb.Watch_Watch_FullMethodName && method != pb.Lease_LeaseKeepAlive_FullMethodName {
		require.NoError(t, st.CloseSend())
	}
	var answer []byte
	if err := st.RecvMsg(&answer); err != nil {
		return status.Convert(err).Message()
	}
	if method == pb.Watch_Watch_FullMethodName {
		w := &pb.WatchResponse{}
		require.NoError(t, proto.Unmarshal(answer, w))
		return w.CancelReason
	}
	return ""
}
