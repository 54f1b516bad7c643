package lane

import (
	"net"
	"net/http"
	"strconv"
	"time"
)

// answer is a http.ResponseWriter. What is written goes out when the handler returns, when it flushes, or when much has
// come together.
type answer struct {
	c      *conn
	header http.Header
	status int
	out    []byte // the body so far that was not sent
	frame  []byte // what is sent in one piece
	sent   bool   // the head was
	chunks bool   // the body goes out in chunks
	length bool   // the handler has said how long it is
	err    error
}

// mostOut is how much of a body is gathered, in bytes.
const mostOut = 32 << 10

func (w *answer) begin() {
	clear(w.header)
	w.status, w.out, w.sent, w.chunks, w.length, w.err = 0, w.out[:0], false, false, false, nil
}

// Header implements http.ResponseWriter.
func (w *answer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *answer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.err != nil {
		return 0, w.err
	}
	if len(w.out)+len(b) <= mostOut {
		w.out = append(w.out, b...)
		return len(b), nil
	}
	w.send(b, false)
	return len(b), w.err
}

// FlushError implements what http.ResponseController asks for. Who flushes may go on to wait, so the client is looked after.
func (w *answer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	w.send(nil, false)
	if w.err == nil {
		w.c.watch()
	}
	return w.err
}

// end sends the rest.
func (w *answer) end() error {
	w.WriteHeader(http.StatusOK)
	w.send(nil, true)
	if cap(w.out) > mostKept {
		w.out = nil
	}
	return w.err
}

// send sends what was gathered and more. last is the end of the answer.
func (w *answer) send(more []byte, last bool) {
	if w.err != nil {
		return
	}
	body := len(w.out) + len(more)
	head := w.frame[:0]
	if !w.sent {
		w.sent = true
		_, w.length = w.header["Content-Length"]
		w.chunks = !w.length && !last
		head = w.appendHead(head, body)
	}
	if w.chunks && body > 0 {
		head = append(strconv.AppendInt(head, int64(body), 16), "\r\n"...)
	}
	head = append(head, w.out...)
	w.out = w.out[:0]
	var tail string
	if w.chunks {
		if body > 0 {
			tail = "\r\n"
		}
		if last {
			tail += "0\r\n\r\n"
		}
	}
	if len(more) > mostKept {
		parts := net.Buffers{head, more}
		if tail != "" {
			parts = append(parts, []byte(tail))
		}
		_, w.err = parts.WriteTo(w.c.Conn)
		return
	}
	if head = append(append(head, more...), tail...); len(head) > 0 {
		_, w.err = w.c.Write(head)
	}
	if cap(head) <= mostKept {
		w.frame = head
	}
}

// appendHead appends the first line and the headers. length is that of the body, as far as it is known.
func (w *answer) appendHead(b []byte, length int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(w.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(w.status)...)
	b = append(b, "\r\n"...)
	for name, values := range w.header { // their order means nothing
		for _, v := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = appendValue(b, v)
			b = append(b, "\r\n"...)
		}
	}
	if _, ok := w.header["Content-Type"]; !ok && length > 0 {
		b = append(b, "Content-Type: "...)
		b = append(b, http.DetectContentType(w.out)...)
		b = append(b, "\r\n"...)
	}
	b = append(b, "Date: "...)
	b = append(b, w.c.s.now(time.Now())...)
	switch {
	case w.chunks:
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	case !w.length:
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(length), 10)
	}
	if w.c.s.closing.Load() {
		b = append(b, "\r\nConnection: close"...)
	}
	return append(b, "\r\n\r\n"...)
}

// appendValue appends a header's value; what would end its line becomes a blank.
func appendValue(b []byte, v string) []byte {
	for i := range len(v) {
		c := v[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		b = append(b, c)
	}
	return b
}
