package tlsfiles

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// handshakeWithin bounds a handshake.
const handshakeWithin = 10 * time.Second

// Secure makes one of TLS of a connection that was dialed, for HTTP/1. Whoever is there has to be the host of the address,
// unless the configuration has a name. The configuration is the connection's from then on.
func Secure(ctx context.Context, c net.Conn, with *tls.Config, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeWithin)
	defer cancel()
	with.NextProtos = []string{"http/1.1"}
	if host, _, err := net.SplitHostPort(addr); with.ServerName == "" && err == nil {
		with.ServerName = host
	}
	s := tls.Client(c, with)
	if err := s.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return s, nil
}
