package measure

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// webConn is a connection of an HTTP/1.1 client that does as little as it can: what it took would be missing to the server.
type webConn struct {
	net.Conn
	r    *bufio.Reader
	body []byte // of the last answer
}

func (s *subject) dialWeb(ctx context.Context) (*webConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	return &webConn{Conn: c, r: bufio.NewReader(c)}, nil
}

// request is the bytes of one; form is for PUT.
func request(method, path, form string) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, path)
	if form != "" {
		b = fmt.Appendf(b, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(form))
	}
	return append(append(b, "\r\n"...), form...)
}

// do sends a request and reads the answer whole.
func (c *webConn) do(q []byte) (status int, err error) {
	if _, err := c.Write(q); err != nil {
		return 0, err
	}
	return c.answer()
}

func (c *webConn) line() (string, error) {
	b, err := c.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if n := len(b); n >= 2 && b[n-2] == '\r' {
		return string(b[:n-2]), nil
	}
	return "", errors.New("measure: a line of HTTP does not end as it should")
}

func (c *webConn) answer() (status int, err error) {
	first, err := c.line()
	if err != nil {
		return 0, err
	}
	if len(first) < 12 {
		return 0, fmt.Errorf("measure: %q is no answer of HTTP", first)
	}
	if status, err = strconv.Atoi(first[9:12]); err != nil {
		return 0, err
	}
	length := -1
	for {
		l, err := c.line()
		switch {
		case err != nil:
			return 0, err
		case l != "":
			if v, ok := strings.CutPrefix(l, "Content-Length: "); ok {
				if length, err = strconv.Atoi(v); err != nil {
					return 0, err
				}
			}
			continue
		}
		break
	}
	c.body = c.body[:0]
	if length >= 0 {
		return status, c.read(length)
	}
	for { // chunks
		l, err := c.line()
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseUint(l, 16, 31)
		if err != nil {
			return 0, err
		}
		if err := c.read(int(n)); err != nil {
			return 0, err
		}
		if _, err := c.line(); err != nil {
			return 0, err
		}
		if n == 0 {
			return status, nil
		}
	}
}

func (c *webConn) read(n int) error {
	at := len(c.body)
	c.body = append(c.body, make([]byte, n)...)
	_, err := io.ReadFull(c.r, c.body[at:])
	return err
}
