package gateway

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/wire"
)

func TestUnary(t *testing.T) {
	s := newSite(t, &member{rangeKeys: echo}, Config{MaxMessageBytes: 1000})
	header := `"header":{"cluster_id":"9223372036854775808","revision":"7"}`
	for _, c := range []struct {
		name, body string
		code       int
		want       string
	}{
		{"names of the protocol", `{"key":"Zm9v","range_end":"YmFy","limit":"3"}`, 200, `{` + header + `,"kvs":[{"key":"Zm9v","value":"YmFy"}],"count":"3"}`},
		{"JSON names, numbers", `{"key":"Zm9v","rangeEnd":"YmFy","limit":3}`, 200, `{` + header + `,"kvs":[{"key":"Zm9v","value":"YmFy"}],"count":"3"}`},
		{"unknown fields", `{"what":{"is":["this"]},"sort_order":"DESCEND"}`, 200, `{` + header + `,"kvs":[{}]}`},
		{"base64 of URLs without padding", `{"key":"_-8"}`, 200, `{` + header + `,"kvs":[{"key":"/+8="}]}`},
		{"nothing", ``, 200, `{` + header + `,"kvs":[{}]}`},
		{"cut short", `{"key":`, 400, `{"error":"unexpected EOF","code":3,"message":"unexpected EOF"}`},
		{"too long", `{"key":"` + strings.Repeat("A", 2000) + `"}`, 400,
			`{"error":"a message is larger than 1000 bytes","code":3,"message":"a message is larger than 1000 bytes"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp, body := s.post("/v3/kv/range", c.body)
			require.Equal(t, c.code, resp.StatusCode)
			require.JSONEq(t, c.want, body)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			if c.code == 200 {
				require.Equal(t, "application/grpc", resp.Header.Get("Grpc-Metadata-Content-Type"))
			}
		})
	}
	for _, body := range []string{`{"key":"Zm9"`, `{"key":"?"}`, `{"limit":"x"}`, `[]`} {
		resp, got := s.post("/v3/kv/range", body)
		require.Equal(t, 400, resp.StatusCode, body)
		require.Contains(t, got, `"code":3`, body)
	}
}

func TestRouting(t *testing.T) {
	s := newSite(t, &member{rangeKeys: echo}, Config{})
	resp, body := s.post("/v3/kv/what", `{}`)
	require.Equal(t, 404, resp.StatusCode)
	require.JSONEq(t, `{"error":"Not Found","code":5,"message":"Not Found"}`, body)
	resp, err := s.http.Client().Get(s.http.URL + "/v3/kv/range")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 501, resp.StatusCode)
	var e map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&e))
	require.Equal(t, map[string]any{"error": "Method Not Allowed", "code": 12.0, "message": "Method Not Allowed"}, e)
}

func TestErrors(t *testing.T) {
	var answer error
	s := newSite(t, &member{rangeKeys: func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) { return nil, answer }}, Config{})
	for code, want := range map[codes.Code]int{
		codes.Canceled: 499, codes.Unknown: 500, codes.InvalidArgument: 400, codes.DeadlineExceeded: 504, codes.NotFound: 404,
		codes.AlreadyExists: 409, codes.Aborted: 409, codes.PermissionDenied: 403, codes.ResourceExhausted: 429,
		codes.FailedPrecondition: 400, codes.OutOfRange: 400, codes.Unimplemented: 501, codes.Internal: 500,
		codes.Unavailable: 503, codes.DataLoss: 500, codes.Unauthenticated: 401,
	} {
		answer = status.Error(code, "the reason")
		resp, body := s.post("/v3/kv/range", `{}`)
		require.Equal(t, want, resp.StatusCode, code)
		var e unaryError
		require.NoError(t, json.Unmarshal([]byte(body), &e))
		require.Equal(t, unaryError{Error: "the reason", Code: int32(code), Message: "the reason"}, e)
		wantAuth := ""
		if code == codes.Unauthenticated {
			wantAuth = "the reason"
		}
		require.Equal(t, wantAuth, resp.Header.Get("WWW-Authenticate"))
	}
	answer = wire.ErrInvalidAuthToken
	_, body := s.post("/v3/kv/range", `{}`)
	require.JSONEq(t, `{"error":"etcdserver: invalid auth token","code":16,"message":"etcdserver: invalid auth token"}`, body)
}

func TestMetadata(t *testing.T) {
	var seen context.Context
	s := newSite(t, &member{rangeKeys: func(ctx context.Context, q *pb.RangeRequest) (*pb.RangeResponse, error) {
		seen = ctx
		return echo(ctx, q)
	}}, Config{})
	s.post("/v3/kv/range", `{}`, "Authorization", "Bearer t.1", "Grpc-Metadata-hasleader", "true", "Grpc-Timeout", "50S",
		"Accept", "application/json", "X-Forwarded-For", "10.0.0.9", "X-Other", "no")
	require.Equal(t, []string{"Bearer t.1"}, incoming(seen, "authorization"))
	require.Equal(t, []string{"true"}, incoming(seen, "hasleader"))
	require.Equal(t, []string{"application/json"}, incoming(seen, "grpcgateway-accept"))
	require.Equal(t, []string{"10.0.0.9, 127.0.0.1"}, incoming(seen, "x-forwarded-for"))
	require.Empty(t, incoming(seen, "x-other"))
	end, ok := seen.Deadline()
	require.True(t, ok)
	require.InDelta(t, 50, time.Until(end).Seconds(), 5)
	resp, body := s.post("/v3/kv/range", `{}`, "Grpc-Timeout", "soon")
	require.Equal(t, 400, resp.StatusCode)
	require.Contains(t, body, "invalid grpc-timeout: soon")
}
