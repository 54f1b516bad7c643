package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The messages of the lock and the election service are not among those that etcd publishes, but in its server. Here
// they are made from a table. They are not registered under their names, so that a process may hold etcd's as well.

// field is one field of a message: its number is its place, its type a scalar or, with a dot in front, a message.
type field struct{ name, typ string }

type message struct {
	name   string
	fields []field
}

var header = field{"header", ".etcdserverpb.ResponseHeader"}

// packages are the messages by proto package (v3-grpc.md appendix A).
var packages = []struct {
	name     string
	messages []message
}{
	{"v3lockpb", []message{
		{"LockRequest", []field{{"name", "bytes"}, {"lease", "int64"}}},
		{"LockResponse", []field{header, {"key", "bytes"}}},
		{"UnlockRequest", []field{{"key", "bytes"}}},
		{"UnlockResponse", []field{header}},
	}},
	{"v3electionpb", []message{
		{"CampaignRequest", []field{{"name", "bytes"}, {"lease", "int64"}, {"value", "bytes"}}},
		{"CampaignResponse", []field{header, {"leader", ".v3electionpb.LeaderKey"}}},
		{"LeaderKey", []field{{"name", "bytes"}, {"key", "bytes"}, {"rev", "int64"}, {"lease", "int64"}}},
		{"LeaderRequest", []field{{"name", "bytes"}}},
		{"LeaderResponse", []field{header, {"kv", ".mvccpb.KeyValue"}}},
		{"ResignRequest", []field{{"leader", ".v3electionpb.LeaderKey"}}},
		{"ResignResponse", []field{header}},
		{"ProclaimRequest", []field{{"leader", ".v3electionpb.LeaderKey"}, {"value", "bytes"}}},
		{"ProclaimResponse", []field{header}},
	}},
}

// route is one path and the call behind it.
type route struct {
	path, method string
	in, out      string
	stream       bool
}

var routes = []route{
	{"lock/lock", "v3lockpb.Lock/Lock", "v3lockpb.LockRequest", "v3lockpb.LockResponse", false},
	{"lock/unlock", "v3lockpb.Lock/Unlock", "v3lockpb.UnlockRequest", "v3lockpb.UnlockResponse", false},
	{"election/campaign", "v3electionpb.Election/Campaign", "v3electionpb.CampaignRequest", "v3electionpb.CampaignResponse", false},
	{"election/proclaim", "v3electionpb.Election/Proclaim", "v3electionpb.ProclaimRequest", "v3electionpb.ProclaimResponse", false},
	{"election/leader", "v3electionpb.Election/Leader", "v3electionpb.LeaderRequest", "v3electionpb.LeaderResponse", false},
	{"election/observe", "v3electionpb.Election/Observe", "v3electionpb.LeaderRequest", "v3electionpb.LeaderResponse", true},
	{"election/resign", "v3electionpb.Election/Resign", "v3electionpb.ResignRequest", "v3electionpb.ResignResponse", false},
}

// describe makes the descriptors of all messages of the table.
func describe() (map[string]protoreflect.MessageDescriptor, error) {
	imports := []string{pb.File_rpc_proto.Path(), mvccpb.File_kv_proto.Path()}
	out := map[string]protoreflect.MessageDescriptor{}
	for _, p := range packages {
		f := &descriptorpb.FileDescriptorProto{Name: proto.String(p.name + ".proto"), Package: &p.name,
			Syntax: proto.String("proto3"), Dependency: imports}
		for _, m := range p.messages {
			d := &descriptorpb.DescriptorProto{Name: &m.name}
			for i, fd := range m.fields {
				d.Field = append(d.Field, fd.describe(i+1))
			}
			f.MessageType = append(f.MessageType, d)
		}
		file, err := protodesc.NewFile(f, protoregistry.GlobalFiles)
		if err != nil {
			return nil, err
		}
		for _, m := range p.messages {
			out[p.name+"."+m.name] = file.Messages().ByName(protoreflect.Name(m.name))
		}
	}
	return out, nil
}

func (f field) describe(num int) *descriptorpb.FieldDescriptorProto {
	d := &descriptorpb.FieldDescriptorProto{Name: proto.String(f.name), Number: proto.Int32(int32(num)),
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
	switch f.typ {
	case "bytes":
		d.Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
	case "int64":
		d.Type = descriptorpb.FieldDescriptorProto_TYPE_INT64.Enum()
	default:
		d.Type, d.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(f.typ)
	}
	return d
}

// registerRecipes adds the routes of the lock and the election service.
func registerRecipes(_ context.Context, mux *runtime.ServeMux, conn *grpc.ClientConn) error {
	types, err := describe()
	if err != nil {
		return err
	}
	for _, r := range routes {
		in, out := types[r.in], types[r.out]
		if in == nil || out == nil {
			return fmt.Errorf("gateway: no message %s or %s", r.in, r.out)
		}
		if err := mux.HandlePath(http.MethodPost, "/v3/"+r.path, r.handler(mux, conn, in, out)); err != nil {
			return err
		}
	}
	return nil
}

// handler translates as the generated handlers of the other services do.
func (r route) handler(mux *runtime.ServeMux, conn *grpc.ClientConn, in, out protoreflect.MessageDescriptor) runtime.HandlerFunc {
	method := "/" + r.method
	return func(w http.ResponseWriter, req *http.Request, _ map[string]string) {
		ctx, cancel := context.WithCancel(req.Context())
		defer cancel()
		inbound, outbound := runtime.MarshalerForRequest(mux, req)
		annotated, err := runtime.AnnotateContext(ctx, mux, req, method, runtime.WithHTTPPathPattern(req.URL.Path))
		if err != nil {
			runtime.HTTPError(ctx, mux, outbound, w, req, err)
			return
		}
		q := dynamicpb.NewMessage(in)
		if err := inbound.NewDecoder(req.Body).Decode(q); err != nil && !errors.Is(err, io.EOF) {
			runtime.HTTPError(annotated, mux, outbound, w, req, status.Error(codes.InvalidArgument, err.Error()))
			return
		}
		var md runtime.ServerMetadata
		if r.stream {
			// The rest of the body is passed over beside the answers: a WebSocket's does not end before them, and while
			// nobody reads it a client that leaves is not noticed. It ends with this call, whose server closes it.
			go func() {
				if _, err := io.Copy(io.Discard, req.Body); err != nil {
					cancel()
				}
			}()
			recv, err := observe(annotated, conn, method, q, out, &md)
			annotated = runtime.NewServerMetadataContext(annotated, md)
			if err != nil {
				runtime.HTTPError(annotated, mux, outbound, w, req, err)
				return
			}
			runtime.ForwardResponseStream(annotated, mux, outbound, w, req, recv, mux.GetForwardResponseOptions()...)
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		a := dynamicpb.NewMessage(out)
		err = conn.Invoke(annotated, method, q, a, grpc.Header(&md.HeaderMD), grpc.Trailer(&md.TrailerMD))
		annotated = runtime.NewServerMetadataContext(annotated, md)
		if err != nil {
			runtime.HTTPError(annotated, mux, outbound, w, req, err)
			return
		}
		runtime.ForwardResponseMessage(annotated, mux, outbound, w, req, a, mux.GetForwardResponseOptions()...)
	}
}

// observe starts a call that answers more than once, and returns what gives its answers.
func observe(ctx context.Context, conn *grpc.ClientConn, method string, q proto.Message, out protoreflect.MessageDescriptor,
	md *runtime.ServerMetadata) (func() (proto.Message, error), error) {
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{StreamName: method[strings.LastIndexByte(method, '/')+1:], ServerStreams: true}, method)
	if err != nil {
		return nil, err
	}
	if err := st.SendMsg(q); err != nil {
		return nil, err
	}
	if err := st.CloseSend(); err != nil {
		return nil, err
	}
	if md.HeaderMD, err = st.Header(); err != nil {
		return nil, err
	}
	return func() (proto.Message, error) {
		a := dynamicpb.NewMessage(out)
		return a, st.RecvMsg(a)
	}, nil
}
