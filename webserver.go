package cairn

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// readHeaderWithin bounds how long a client may take to send the head of a request.
	readHeaderWithin = 30 * time.Second
	// idleWithin bounds how long a connection without a request is kept.
	idleWithin = 5 * time.Minute
)

// webServer is an HTTP server that knows which connections have not sent a request yet: http.Server waits five seconds
// for those when it stops.
type webServer struct {
	http.Server
	mu     sync.Mutex
	silent map[net.Conn]struct{}
}

func newWebServer(h http.Handler, l *slog.Logger) *webServer {
	w := &webServer{silent: map[net.Conn]struct{}{}}
	w.Server = http.Server{Handler: h, ReadHeaderTimeout: readHeaderWithin, IdleTimeout: idleWithin,
		ErrorLog: slog.NewLogLogger(l.Handler(), slog.LevelWarn), ConnState: func(c net.Conn, state http.ConnState) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if state == http.StateNew {
				w.silent[c] = struct{}{}
			} else {
				delete(w.silent, c)
			}
		}}
	return w
}

// shutdown waits for the requests under way until the context ends.
func (w *webServer) shutdown(ctx context.Context) {
	w.mu.Lock()
	for c := range w.silent {
		_ = c.Close()
	}
	w.mu.Unlock()
	_ = w.Shutdown(ctx)
	_ = w.Close()
}
