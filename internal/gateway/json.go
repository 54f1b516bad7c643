package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// marshaler is the JSON of the gateway: names as in the protocol, zero fields left out, unknown fields ignored. It
// bounds what one message of a request may take.
type marshaler struct {
	runtime.JSONPb
	limit int64
}

// NewDecoder returns a decoder of the messages of r, each at most limit bytes long.
func (m *marshaler) NewDecoder(r io.Reader) runtime.Decoder {
	l := &limited{r: r}
	dec := m.JSONPb.NewDecoder(l)
	return runtime.DecoderFunc(func(v any) error {
		l.left = m.limit
		err := dec.Decode(v)
		if err == nil || errors.Is(err, io.EOF) {
			return err
		}
		if l.left <= 0 {
			err = fmt.Errorf("a message is larger than %d bytes", m.limit)
		}
		if b, ok := r.(*openBody); ok {
			b.end(status.Error(codes.InvalidArgument, err.Error()))
		}
		return err
	})
}

// openBody is the body of a call that goes on when its body has ended. Such a call ends with a body that cannot be read or
// understood: nobody reads it any further, and a client that leaves is noticed by its body alone.
type openBody struct {
	io.ReadCloser
	end context.CancelCauseFunc
}

// reason is why a call has failed: its body, if that has ended it.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); status.Code(err) == codes.Canceled && status.Code(cause) == codes.InvalidArgument {
		return cause
	}
	return err
}

// Marshal writes a message. The error that ends a stream also gets the names that it had up to version 3.5.
func (m *marshaler) Marshal(v any) ([]byte, error) {
	if chunk, ok := v.(map[string]proto.Message); ok {
		if st, ok := chunk["error"].(interface {
			GetCode() int32
			GetMessage() string
		}); ok {
			code := codes.Code(st.GetCode())
			status := runtime.HTTPStatusFromCode(code)
			return json.Marshal(struct {
				Error streamError `json:"error"`
			}{streamError{Code: int32(code), GRPCCode: int32(code), HTTPCode: status, Message: st.GetMessage(), HTTPStatus: http.StatusText(status)}})
		}
	}
	return m.JSONPb.Marshal(v)
}

type streamError struct {
	Code       int32  `json:"code"`
	GRPCCode   int32  `json:"grpc_code"`
	HTTPCode   int    `json:"http_code"`
	Message    string `json:"message"`
	HTTPStatus string `json:"http_status"`
}

var errTooLong = errors.New("message too long")

// limited gives left bytes of r, and then an error.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooLong
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// unaryError is the body of a failed call. It holds the key "error" for tools that know version 3.5.
type unaryError struct {
	Error   string `json:"error"`
	Code    int32  `json:"code"`
	Message string `json:"message"`
}

// writeError answers a call that failed, or a path or method that is not known.
func writeError(ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
	var known *runtime.HTTPStatusError
	if errors.As(err, &known) {
		err = known.Err
	}
	st := status.Convert(reason(ctx, err))
	h := w.Header()
	h.Del("Trailer")
	h.Del("Transfer-Encoding")
	h.Set("Content-Type", "application/json")
	if st.Code() == codes.Unauthenticated {
		h.Set("WWW-Authenticate", st.Message())
	}
	if md, ok := runtime.ServerMetadataFromContext(ctx); ok {
		for k, vs := range md.HeaderMD {
			for _, v := range vs {
				h.Add(runtime.MetadataHeaderPrefix+k, v)
			}
		}
	}
	code := runtime.HTTPStatusFromCode(st.Code())
	if known != nil {
		code = known.HTTPStatus
	}
	b, err := json.Marshal(unaryError{Error: st.Message(), Code: int32(st.Code()), Message: st.Message()})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(code)
	_, _ = w.Write(b)
}
