package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const patience = 10 * time.Second

func TestKeepAliveEndsWithItsBody(t *testing.T) {
	s := newSite(t, &member{}, Config{})
	resp, body := s.post("/v3/lease/keepalive", `{"ID":"1"}{"ID":2} {"ID":"3"}`)
	require.Equal(t, 200, resp.StatusCode)
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"result":{"ID":"3","TTL":"9"}}`, lines[2])
}

func TestStreamErrors(t *testing.T) {
	s := newSite(t, &member{}, Config{})
	want := `{"error":{"code":14,"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}`
	resp, body := s.post("/v3/lease/keepalive", `{"ID":"-1"}`)
	require.Equal(t, 503, resp.StatusCode)
	require.JSONEq(t, want, body)
	resp, body = s.post("/v3/lease/keepalive", `{"ID":"5"}{"ID":"-1"}`)
	require.Equal(t, 200, resp.StatusCode)
	lines := strings.Split(strings.TrimSuffix(body, "\n"), "\n")
	require.Len(t, lines, 2)
	require.JSONEq(t, `{"result":{"ID":"5","TTL":"9"}}`, lines[0])
	require.JSONEq(t, want, lines[1])
}

// A client that renews leases sends the next message when it has seen the last answer.
func TestAnswersComeWhileTheBodyIsOpen(t *testing.T) {
	s := newSite(t, &member{}, Config{})
	body, send := io.Pipe()
	r, err := http.NewRequest("POST", s.http.URL+"/v3/lease/keepalive", body)
	require.NoError(t, err)
	go func() { _, _ = io.WriteString(send, `{"ID":"1"}`) }()
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, id := range []string{"1", "2", "3"} {
		require.True(t, lines.Scan())
		require.JSONEq(t, `{"result":{"ID":"`+id+`","TTL":"9"}}`, lines.Text())
		_, err := io.WriteString(send, `{"ID":"`+string(id[0]+1)+`"}`)
		require.NoError(t, err)
	}
	require.NoError(t, send.Close())
	require.True(t, lines.Scan())
	require.False(t, lines.Scan())
	require.NoError(t, lines.Err())
}

// created answers a watch with its creation and stays until the call ends. What ended it is sent to ended.
func created(ended chan<- error) func(pb.Watch_WatchServer) error {
	return func(st pb.Watch_WatchServer) error {
		q, err := st.Recv()
		if err != nil {
			return err
		}
		if len(q.GetCreateRequest().GetKey()) == 0 {
			return status.Error(codes.InvalidArgument, "no key")
		}
		if err := st.Send(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: 4}, Created: true}); err != nil {
			return err
		}
		<-st.Context().Done()
		ended <- st.Context().Err()
		return st.Context().Err()
	}
}

const createFoo = `{"create_request":{"key":"Zm9v"}}`

func TestWatchOutlivesItsBody(t *testing.T) {
	ended := make(chan error, 1)
	s := newSite(t, &member{watch: created(ended)}, Config{})
	resp, err := http.Post(s.http.URL+"/v3/watch", "", strings.NewReader(createFoo))
	require.NoError(t, err)
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	require.NoError(t, err)
	require.JSONEq(t, `{"result":{"header":{"revision":"4"},"created":true}}`, line)
	select {
	case <-ended:
		t.Fatal("the watch ended with its body")
	default:
	}
	require.NoError(t, resp.Body.Close()) // the client leaves
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the watch goes on without its client")
	}
}

func dial(t *testing.T, s *site, path string, header http.Header, protocols ...string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: patience}
	ws, _, err := d.Dial("ws"+strings.TrimPrefix(s.http.URL, "http")+path, header)
	require.NoError(t, err)
	t.Cleanup(func() { ws.Close() })
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
	return ws
}

func TestWebSocketWatch(t *testing.T) {
	ended := make(chan error, 1)
	s := newSite(t, &member{watch: created(ended)}, Config{})
	ws := dial(t, s, "/v3/watch", nil)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(createFoo)))
	kind, line, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Equal(t, websocket.TextMessage, kind)
	require.JSONEq(t, `{"result":{"header":{"revision":"4"},"created":true}}`, string(line))
	require.NoError(t, ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(patience)))
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the watch goes on without its client")
	}
}

func TestWebSocketEndsWithTheCall(t *testing.T) {
	s := newSite(t, &member{watch: created(nil), rangeKeys: echo}, Config{})
	t.Run("error", func(t *testing.T) {
		ws := dial(t, s, "/v3/watch", nil)
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"create_request":{}}`)))
		_, line, err := ws.ReadMessage()
		require.NoError(t, err)
		require.Contains(t, string(line), `"message":"no key"`)
		_, _, err = ws.ReadMessage()
		require.True(t, websocket.IsCloseError(err, websocket.CloseNormalClosure), "%v", err)
	})
	t.Run("unary", func(t *testing.T) {
		ws := dial(t, s, "/v3/kv/range", nil)
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"key":"Zm9v"}`)))
		_, line, err := ws.ReadMessage()
		require.NoError(t, err)
		require.Contains(t, string(line), `"key":"Zm9v"`)
		_, _, err = ws.ReadMessage()
		require.True(t, websocket.IsCloseError(err, websocket.CloseNormalClosure), "%v", err)
	})
	t.Run("frame too long", func(t *testing.T) {
		ended := make(chan error, 1)
		s := newSite(t, &member{watch: created(ended)}, Config{MaxMessageBytes: 100})
		ws := dial(t, s, "/v3/watch", nil)
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"create_request":{"key":"`+strings.Repeat("A", 200)+`"}}`)))
		_, _, err := ws.ReadMessage()
		require.Error(t, err)
	})
}

func TestWebSocketTokens(t *testing.T) {
	tokens := make(chan []string, 1)
	s := newSite(t, &member{watch: func(st pb.Watch_WatchServer) error {
		tokens <- incoming(st.Context(), "authorization")
		return nil
	}}, Config{})
	for _, c := range []struct {
		name      string
		header    http.Header
		protocols []string
		want      []string
	}{
		{"sub-protocol", nil, []string{"Bearer", "t.1"}, []string{"Bearer t.1"}},
		{"cookie", http.Header{"Cookie": {"token=t.2"}}, nil, []string{"Bearer t.2"}},
		{"header", http.Header{"Authorization": {"t.3"}}, nil, []string{"t.3"}},
		{"none", nil, nil, nil},
	} {
		ws := dial(t, s, "/v3/watch", c.header, c.protocols...)
		require.Equal(t, c.want, <-tokens, c.name)
		if c.protocols != nil {
			require.Equal(t, "Bearer", ws.Subprotocol())
		}
	}
}

func TestWebSocketOfAForeignPage(t *testing.T) {
	s := newSite(t, &member{}, Config{Trusted: func(r *http.Request) bool { return r.Header.Get("Origin") != "http://evil" }})
	_, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(s.http.URL, "http")+"/v3/watch", http.Header{"Origin": {"http://evil"}})
	require.Error(t, err)
	require.Equal(t, 403, resp.StatusCode)
}

func TestCloseEndsStreams(t *testing.T) {
	ended := make(chan error, 2)
	s := newSite(t, &member{watch: created(ended)}, Config{})
	ws := dial(t, s, "/v3/watch", nil)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(createFoo)))
	_, _, err := ws.ReadMessage()
	require.NoError(t, err)
	resp, err := http.Post(s.http.URL+"/v3/watch", "", strings.NewReader(createFoo))
	require.NoError(t, err)
	defer resp.Body.Close()
	s.gateway.Close()
	<-ended
	<-ended
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	for err == nil { // perhaps the error that ended the stream, then the end
		_, _, err = ws.ReadMessage()
	}
}

// waiting answers a call that has no answers yet, until it ends.
func waiting(began chan<- struct{}, ended chan<- error) grpc.StreamHandler {
	return func(_ any, st grpc.ServerStream) error {
		if err := st.SendHeader(nil); err != nil {
			return err
		}
		began <- struct{}{}
		<-st.Context().Done()
		ended <- st.Context().Err()
		return st.Context().Err()
	}
}

// A body that cannot be read or understood ends a watch with an error, and a client that leaves in the middle of its body
// is noticed.
func TestStreamsEndWithBadBodies(t *testing.T) {
	chunk := func(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }
	watched, name := chunk(createFoo), chunk(`{"name":"Zm9v"}`)
	for _, c := range []struct {
		name, path, body string
		waits            bool   // the server goes on until the client leaves
		answer           string // else
	}{
		{"a bad chunk", "/v3/watch", "2\r\n{\"create_request\":{}}\r\n", false, "malformed chunked encoding"},
		{"no JSON", "/v3/watch", chunk("{]"), false, "invalid character ']'"},
		{"another type", "/v3/watch", chunk(`{"create_request":7}`), false, "unexpected token 7"},
		{"too long", "/v3/watch", chunk(`{"create_request":{"key":"` + strings.Repeat("A", 2000)), false, "a message is larger than 1000 bytes"},
		{"no JSON behind a watch", "/v3/watch", watched + chunk("x"), false, "invalid character 'x'"},
		{"a watch", "/v3/watch", watched, true, ""},
		{"part of a message", "/v3/watch", watched + chunk(`{"create_`), true, ""},
		{"an observer", "/v3/election/observe", name, true, ""},
		{"an observer who goes on", "/v3/election/observe", name + chunk("x"), true, ""},
		{"an observer whose body has ended", "/v3/election/observe", name + "0\r\n\r\n", true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			began, ended := make(chan struct{}, 1), make(chan error, 1)
			s := newSite(t, &member{watch: created(ended), other: waiting(began, ended)}, Config{MaxMessageBytes: 1000})
			conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			_, err = io.WriteString(conn, "POST "+c.path+" HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+c.body)
			require.NoError(t, err)
			in := bufio.NewReader(conn)
			if c.waits {
				if c.path == "/v3/watch" {
					resp, err := http.ReadResponse(in, nil)
					require.NoError(t, err)
					line, err := bufio.NewReader(resp.Body).ReadString('\n')
					require.NoError(t, err)
					require.Contains(t, line, `"created":true`)
				} else {
					<-began
				}
				require.NoError(t, conn.Close())
				select {
				case <-ended:
				case <-time.After(patience):
					t.Fatal("the call goes on without its client")
				}
				return
			}
			resp, err := http.ReadResponse(in, nil)
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err, "%s", b)
			require.Contains(t, string(b), c.answer)
			require.Contains(t, string(b), `"code":3`)
			if !strings.Contains(string(b), "created") {
				require.Equal(t, 400, resp.StatusCode)
			}
		})
	}
}

// Frames that nobody reads must not keep a WebSocket from ending.
func TestWebSocketsEndWithBadFrames(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan error, 1)
	s := newSite(t, &member{watch: created(ended), other: waiting(began, ended)}, Config{})
	ws := dial(t, s, "/v3/watch", nil)
	require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte("{]")))
	_, line, err := ws.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(line), "invalid character ']'")
	_, _, err = ws.ReadMessage()
	require.True(t, websocket.IsCloseError(err, websocket.CloseNormalClosure), "%v", err)

	ws = dial(t, s, "/v3/election/observe", nil)
	for range 5 {
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(`{"name":"Zm9v"}`)))
	}
	<-began
	require.NoError(t, ws.Close())
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("the call goes on without its client")
	}
}
