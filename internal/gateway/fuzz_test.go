package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/test/fuzz"
)

// FuzzRequest sends any request through the gateway to a member that repeats what it is asked. What is answered is JSON, an
// error says so in its status, and what a range means is what protobuf's JSON means.
func FuzzRequest(f *testing.F) {
	for path, body := range map[string]string{
		"/v3/kv/range": `{"key":"Zm9v","range_end":"YmFy","limit":"3","what":[{"is":null}]}`, "/v3/kv/put": `{"key":"Zm9v","value":"_-8="}`,
		"/v3/kv/txn":          `{"compare":[{"key":"Zm9v","target":"VALUE","value":"YmFy"}],"success":[{"request_put":{"key":"Zm9v"}}]}`,
		"/v3/lease/keepalive": `{"ID":"1"}{"ID":2} {"ID":"-3"}`, "/v3/watch": `{"create_request":{"key":"Zm9v"}}`, "/v3/lock/lock": `{"name":"Zm9v","lease":"1"}`,
		"/v3/election/proclaim": `{"leader":{"name":"Zm9v","rev":"1"},"value":"YQ=="}`, "/v3/auth/user/add": `{"name":"\ud800","options":{"no_password":true}}`,
		"/v3/maintenance/snapshot": `{}`, "/v3/cluster/member/list": ``, "/v3beta/kv/range": `{}`, "/v3/kv/range/": `[1e999]`, "/v3/kv%2frange": `"`,
	} {
		f.Add("POST", path, "Content-Type: application/json", []byte(body))
		f.Add("GET", path+"?key=x", "Grpc-Timeout: 1S\nGrpc-Metadata-a-bin: !\nAccept: text/x\nX-Http-Method-Override: POST", []byte(body))
	}
	f.Add("GET", "/v3/watch", "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", []byte{})
	m := &member{rangeKeys: echo, watch: func(st pb.Watch_WatchServer) error {
		for {
			q, err := st.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err == nil {
				err = st.Send(&pb.WatchResponse{Events: []*mvccpb.Event{{Kv: &mvccpb.KeyValue{Key: q.GetCreateRequest().GetKey()}}}})
			}
			if err != nil {
				return err
			}
		}
	}}
	s := grpc.NewServer()
	pb.RegisterKVServer(s, m)
	pb.RegisterWatchServer(s, m)
	pb.RegisterLeaseServer(s, m)
	g, err := New(Config{MaxMessageBytes: 4096})
	require.NoError(f, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(g.Listener()) }()
	f.Cleanup(func() {
		g.Close()
		s.Stop()
		<-served
	})
	f.Fuzz(func(t *testing.T, method, target, head string, body []byte) {
		defer fuzz.Frugal(t, 32<<20)()
		u, err := url.ParseRequestURI(target)
		if err != nil || method == "" {
			return // net/http has refused it before
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r := (&http.Request{Method: method, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Host: "h",
			Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), RemoteAddr: "127.0.0.1:1"}).WithContext(ctx)
		for line := range strings.SplitSeq(head, "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok {
				r.Header.Add(name, strings.TrimSpace(value))
			}
		}
		began := time.Now()
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		require.Less(t, time.Since(began), patience, "the request has ended")
		answer := w.Body.Bytes()
		if w.Header().Get("Content-Type") == "application/json" {
			for dec := json.NewDecoder(bytes.NewReader(answer)); ; {
				var v any
				if err := dec.Decode(&v); err != nil {
					require.ErrorIs(t, err, io.EOF, "%q", answer)
					break
				}
			}
		}
		if method != "POST" || target != "/v3/kv/range" || strings.Contains(strings.ToLower(head), "grpc-") {
			return
		}
		var q pb.RangeRequest
		var first json.RawMessage
		err = json.NewDecoder(bytes.NewReader(body)).Decode(&first)
		if err == nil {
			err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(first, &q)
		}
		if errors.Is(err, io.EOF) {
			err = nil // no message is an empty one
		}
		if len(body) > 4096 {
			return // part of it may be white space
		}
		require.Equal(t, err == nil, w.Code == http.StatusOK, "%v %d %s", err, w.Code, answer)
		if err == nil {
			want, err := echo(ctx, &q)
			require.NoError(t, err)
			var got pb.RangeResponse
			require.NoError(t, protojson.Unmarshal(answer, &got))
			require.True(t, proto.Equal(want, &got), "%v %v", want, &got)
		}
	})
}
