package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

func isUpgrade(r *http.Request) bool { return websocket.IsWebSocketUpgrade(r) }

const closeWithin = time.Second

// bridge carries a request over a WebSocket: a text frame from the client is a line of the request's body, a line of
// the response is a text frame (v3-gateway-http.md section 3.6).
//
// Two goroutines: this one runs the handler and writes; the other reads frames until the connection ends, and is ended
// by its being closed.
func (g *Gateway) bridge(w http.ResponseWriter, r *http.Request) {
	up := websocket.Upgrader{CheckOrigin: func(r *http.Request) bool { return g.cfg.Trusted == nil || g.cfg.Trusted(r) }}
	protocols := r.Header.Get("Sec-Websocket-Protocol")
	if strings.HasPrefix(protocols, "Bearer") {
		up.Subprotocols = []string{"Bearer"}
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	ws.SetReadLimit(int64(g.cfg.MaxMessageBytes))
	// The connection is no longer the HTTP server's: its end has to be seen here.
	ctx, end := context.WithCancelCause(r.Context())
	cancel := func() { end(nil) }
	// A client that does not read must not keep the member from stopping.
	defer context.AfterFunc(g.ctx, func() { _ = ws.NetConn().SetWriteDeadline(time.Now().Add(closeWithin)) })()
	body, lines := io.Pipe()
	inner := r.Clone(ctx)
	inner.Method = http.MethodPost
	inner.Body = body
	if r.URL.Path == watchPath {
		inner.Body = &openBody{body, end}
	}
	inner.ContentLength = -1
	inner.Header = bridged(r, protocols)
	out := &frames{ws: ws, header: http.Header{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer cancel()
		receive(ws, lines, !streams[r.URL.Path])
	}()
	g.mux.ServeHTTP(out, inner)
	out.end()
	cancel()
	_ = lines.CloseWithError(io.EOF) // whoever still reads the body, or writes it, ends
	_ = ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(closeWithin))
	_ = ws.Close()
	<-read
}

// receive makes a body of the frames until the connection ends. A single message ends the body of a call that is no
// stream, whose answer would otherwise wait for the client to leave.
func receive(ws *websocket.Conn, body *io.PipeWriter, single bool) {
	for sent := false; ; {
		kind, line, err := ws.ReadMessage()
		if err != nil {
			_ = body.CloseWithError(io.EOF)
			return
		}
		if kind != websocket.TextMessage && kind != websocket.BinaryMessage || sent && single {
			continue
		}
		// An error means that the call has ended; the frames that are still to come lead to the connection's end.
		if _, err := body.Write(append(line, '\n')); err == nil && single {
			_ = body.Close()
		}
		sent = true
	}
}

// bridged are the headers of the call: what the upgrade's own tell about who calls.
func bridged(r *http.Request, protocols string) http.Header {
	h := http.Header{}
	for name, values := range r.Header {
		switch {
		case name == "Origin", name == "Referer", name == "Authorization", name == "Grpc-Timeout",
			name == "X-Forwarded-For", name == "X-Forwarded-Host", strings.HasPrefix(name, "Grpc-Metadata-"):
			h[name] = values
		}
	}
	// A browser can set no header for a WebSocket: the token comes as a sub-protocol or a cookie.
	if token, ok := strings.CutPrefix(protocols, "Bearer,"); ok {
		h.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	} else if c, err := r.Cookie("token"); err == nil {
		h.Set("Authorization", "Bearer "+c.Value)
	}
	return h
}

// frames is a response writer that sends each line as a frame.
type frames struct {
	ws      *websocket.Conn
	header  http.Header
	partial bytes.Buffer // a line that has not ended; bounded by the largest response
	err     error
}

func (f *frames) Header() http.Header { return f.header }

// WriteHeader does nothing: a frame has no status, the error is in its text.
func (f *frames) WriteHeader(int) {}

func (f *frames) Write(p []byte) (int, error) {
	n := len(p)
	for f.err == nil {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			f.partial.Write(p)
			break
		}
		line := p[:i]
		if f.partial.Len() > 0 {
			f.partial.Write(line)
			line = f.partial.Bytes()
		}
		f.send(line)
		f.partial.Reset()
		p = p[i+1:]
	}
	if f.err != nil {
		return 0, f.err
	}
	return n, nil
}

// Flush does nothing: lines are sent as they end.
func (f *frames) Flush() {}

func (f *frames) send(line []byte) {
	if len(line) > 0 && f.err == nil {
		f.err = f.ws.WriteMessage(websocket.TextMessage, line)
	}
}

// end sends what came without a line's end.
func (f *frames) end() {
	f.send(f.partial.Bytes())
	f.partial.Reset()
}
