package golden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/bench/process"
)

// side is one of the two servers with the connection to it.
type side struct {
	server *process.Server
	conn   *grpc.ClientConn
}

const startLimit = 60 * time.Second

func startSide(p process.Program, dir string, args ...string) (*side, error) {
	sv, err := process.New(p, dir, args...)
	if err != nil {
		return nil, err
	}
	s := &side{server: sv}
	return s, s.start()
}

func (s *side) start() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err := s.server.Start(ctx); err != nil {
		return err
	}
	s.conn, err = s.server.Dial()
	return err
}

// crash ends the server as a power cut would and starts it again on the same files.
func (s *side) crash() error {
	return errors.Join(s.conn.Close(), s.server.Kill(), s.start())
}

func (s *side) stop() error { return errors.Join(s.conn.Close(), s.server.Stop()) }

// alive says whether the server's process still runs.
func (s *side) alive() bool {
	select {
	case <-s.server.Exited():
		return false
	default:
		return true
	}
}

// answer is what a server gave for one request: a message or a status.
type answer struct {
	msg proto.Message
	err *status.Status
}

func (a answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("error %s %q", a.err.Code(), a.err.Message())
	}
	return text(a.msg)
}

// failed makes an answer of an error. protobuf's own error texts separate words by a space that is chosen at build time.
func failed(err error) answer {
	st, ok := status.FromError(err)
	if !ok {
		st = status.New(codes.Unknown, err.Error())
	}
	return answer{err: status.New(st.Code(), strings.ReplaceAll(st.Message(), "\u00a0", " "))}
}

// rawCodec sends bytes as they are, so that a body can be no message at all.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return b, nil
	}
	return proto.Marshal(v.(proto.Message))
}

func (rawCodec) Unmarshal(b []byte, v any) error { return proto.Unmarshal(b, v.(proto.Message)) }

// callLimit bounds one request; a server that lets it pass has failed.
const callLimit = 20 * time.Second

// do sends the request and waits for the whole answer.
func (s *side) do(o *op, req any) answer {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	switch o.method {
	case rangeStream:
		return s.rangeStream(ctx, req)
	case keepAlive:
		return s.keepAlive(ctx, req)
	}
	resp := responseOf(o.method)
	if err := s.conn.Invoke(ctx, o.method, req, resp, grpc.ForceCodec(rawCodec{})); err != nil {
		if status.Code(err) == codes.DeadlineExceeded {
			s.server.Dump()
		}
		return failed(err)
	}
	return answer{msg: resp}
}

// rangeStream merges the chunks as a client has to. A header in a chunk that is not the last is a fault, and shows as an
// error that no server gives.
func (s *side) rangeStream(ctx context.Context, req any) answer {
	st, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, rangeStream, grpc.ForceCodec(rawCodec{}))
	if err == nil {
		if err = st.SendMsg(req); err == nil {
			err = st.CloseSend()
		}
	}
	if err != nil {
		return failed(err)
	}
	merged, chunks := &pb.RangeResponse{}, 0
	for {
		var r pb.RangeStreamResponse
		err := st.RecvMsg(&r)
		if errors.Is(err, io.EOF) {
			return answer{msg: merged}
		}
		if err != nil {
			return failed(err)
		}
		c := r.GetRangeResponse()
		if merged.Header != nil || (chunks > 0 && len(c.GetKvs()) == 0) {
			return failed(fmt.Errorf("golden: chunk %d came after the last one, or is empty: %s", chunks, text(&r)))
		}
		merged.Kvs = append(merged.Kvs, c.GetKvs()...)
		merged.Header, merged.More, merged.Count = c.GetHeader(), c.GetMore(), c.GetCount()
		chunks++
	}
}

func (s *side) keepAlive(ctx context.Context, req any) answer {
	st, err := s.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, keepAlive, grpc.ForceCodec(rawCodec{}))
	if err == nil {
		err = st.SendMsg(req)
	}
	if err != nil {
		return failed(err)
	}
	var r pb.LeaseKeepAliveResponse
	if err := st.RecvMsg(&r); err != nil {
		return failed(err)
	}
	if err := st.CloseSend(); err != nil {
		return failed(err)
	}
	if err := st.RecvMsg(&pb.LeaseKeepAliveResponse{}); !errors.Is(err, io.EOF) {
		return failed(fmt.Errorf("golden: after CloseSend: %w", err))
	}
	return answer{msg: &r}
}
