package cairn

import (
	"crypto/tls"
	"net"
	"sync"
)

// connLife tells when a connection has ended, and can end it. gRPC shows calls the address of their connection, and neither the
// connection nor its end: so the address has this with it.
type connLife struct {
	net.Addr
	conn net.Conn

	mu    sync.Mutex
	ended bool
	then  map[*func()]struct{}
}

// Abort ends the connection.
func (l *connLife) Abort() { _ = l.conn.Close() }

// OnEnd has f called when the connection ends, or now if it has. forget takes that back.
func (l *connLife) OnEnd(f func()) (forget func()) {
	l.mu.Lock()
	ended := l.ended
	if !ended {
		if l.then == nil {
			l.then = map[*func()]struct{}{}
		}
		l.then[&f] = struct{}{}
	}
	l.mu.Unlock()
	if ended {
		f()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.then, &f)
	}
}

func (l *connLife) end() {
	l.mu.Lock()
	then := l.then
	l.ended, l.then = true, nil
	l.mu.Unlock()
	for f := range then { // in any order
		(*f)()
	}
}

// livingConn is a connection whose address is a connLife.
type livingConn struct {
	net.Conn
	life *connLife
}

// livingTLS tells servers who is at the other side.
type livingTLS struct {
	*livingConn
	state tls.ConnectionState
}

func withLife(c net.Conn) net.Conn {
	l := &livingConn{Conn: c, life: &connLife{Addr: c.RemoteAddr(), conn: c}}
	if s, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return &livingTLS{l, s.ConnectionState()}
	}
	return l
}

func (c *livingConn) RemoteAddr() net.Addr { return c.life }

func (c *livingConn) Close() error {
	defer c.life.end()
	return c.Conn.Close()
}

// ConnectionState is that of TLS.
func (c *livingTLS) ConnectionState() tls.ConnectionState { return c.state }
