package security

import (
	"errors"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/process"
)

// rawCodec sends and receives bodies as they are.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}

// open are the methods for which one need not be anybody.
var open = map[string]bool{pb.Auth_Authenticate_FullMethodName: true, pb.Auth_AuthStatus_FullMethodName: true}

// methodAttempts call every method as nobody, and as a certificate's name that is no user.
func methodAttempts() (out []attempt) {
	var names []string
	for i := range pb.File_rpc_proto.Services().Len() {
		s := pb.File_rpc_proto.Services().Get(i)
		for j := range s.Methods().Len() {
			if name := fmt.Sprintf("/%s/%s", s.FullName(), s.Methods().Get(j).Name()); !open[name] {
				names = append(names, name)
			}
		}
	}
	names = append(names, "/v3lockpb.Lock/Lock", "/v3lockpb.Lock/Unlock", "/v3electionpb.Election/Campaign", "/v3electionpb.Election/Proclaim",
		"/v3electionpb.Election/Leader", "/v3electionpb.Election/Observe", "/v3electionpb.Election/Resign", "/cairn.Repair/Heal")
	for _, name := range names {
		body := []byte("\x0a\x06\x0a\x01n\x12\x01k") // a key, a name, a watch or a leader: what the first field is
		if name == pb.Maintenance_Alarm_FullMethodName {
			body, _ = proto.Marshal(&pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, Alarm: pb.AlarmType_NOSPACE})
		}
		for who, pair := range map[string]func(w *world, t *testing.T) certs.Pair{
			"nobody": func(w *world, t *testing.T) certs.Pair { return w.nobody },
			"ghost":  func(w *world, t *testing.T) certs.Pair { return w.clientCA.Issue(t, "ghost", nil) },
		} {
			out = append(out, attempt{name: who + name, run: func(w *world, t *testing.T) outcome {
				st, err := w.conn(t, w.Members[0], pair(w, t)).NewStream(process.Within(t, patience),
					&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name, grpc.ForceCodec(rawCodec{}))
				if err != nil {
					return refused(err)
				}
				if err := st.SendMsg(&body); err != nil {
					return refused(err)
				}
				if name != pb.Watch_Watch_FullMethodName && name != pb.Lease_LeaseKeepAlive_FullMethodName {
					_ = st.CloseSend()
				}
				var answer []byte
				if err := st.RecvMsg(&answer); err != nil {
					return refused(err)
				}
				if r := (&pb.WatchResponse{}); name == pb.Watch_Watch_FullMethodName && proto.Unmarshal(answer, r) == nil && r.Canceled {
					return refused(errors.New(r.CancelReason))
				}
				return through(fmt.Sprintf("%q", answer))
			}})
		}
	}
	return out
}
