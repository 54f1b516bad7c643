package lane

import (
	"bytes"
	"strings"
)

// head is a request's first line and headers, as parts of what was read.
type head struct {
	method, target, host       []byte
	contentType, authorization []byte
	length                     int // of the body
	size                       int // of the head itself
}

var methods = []string{"GET", "PUT", "POST", "DELETE"}

type verdict int

const (
	incomplete verdict = iota
	plain
	foreign // not for this lane
)

var headEnd = []byte("\r\n\r\n")

// parse reads the head of a request. What is not completely plain is foreign.
func parse(b []byte, prefix string, h *head) verdict {
	end := bytes.Index(b[:min(len(b), mostHead)], headEnd)
	if end < 0 {
		if len(b) >= mostHead || bareLine(b) {
			return foreign
		}
		return incomplete
	}
	*h = head{length: -1, size: end + len(headEnd)}
	line, rest := cutLine(b[:end+2])
	if !h.first(line, prefix) {
		return foreign
	}
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if !h.header(line) {
			return foreign
		}
	}
	body := string(h.method) == "PUT" || string(h.method) == "POST"
	if h.host == nil || h.length > mostBody || h.length > 0 && !body {
		return foreign
	}
	h.length = max(h.length, 0)
	return plain
}

// bareLine reports whether a line ends without a carriage return: the end of such a head is somewhere else.
func bareLine(b []byte) bool {
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') {
			return true
		}
	}
	return false
}

// cutLine cuts behind the next end of a line; there is one.
func cutLine(b []byte) (line, rest []byte) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil // a line without a carriage return: an empty line is neither a first line nor a header
	}
	return b[:i-1], b[i+1:]
}

func (h *head) first(line []byte, prefix string) bool {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, _ := bytes.Cut(rest, []byte(" "))
	if string(version) != "HTTP/1.1" || len(target) < len(prefix) || string(target[:len(prefix)]) != prefix {
		return false
	}
	h.method, h.target = method, target
	path := target
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path = target[:i]
		for _, c := range target[i+1:] {
			if c <= ' ' || c >= 0x7f || c == '#' {
				return false
			}
		}
	}
	if !plainPath(path) || len(path) > len(prefix) && path[len(prefix)] != '/' {
		return false
	}
	for _, m := range methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// plainPath says that a path is clean, and means what it spells.
func plainPath(p []byte) bool {
	for i, c := range p {
		switch {
		case c == '/':
			if i > 0 && p[i-1] == '/' {
				return false
			}
		case c == '.':
			if p[i-1] == '/' {
				return false
			}
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '~', c == ':', c == '@':
		default:
			return false
		}
	}
	return true
}

// header takes one line. The headers that are passed over change nothing about an answer.
func (h *head) header(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 || len(name) > len("accept-language") {
		return false
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	value = bytes.Trim(value, " \t")
	var lower [len("accept-language")]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	switch string(lower[:len(name)]) {
	case "host":
		if h.host != nil || len(value) == 0 || !plainHost(value) {
			return false
		}
		h.host = value
	case "content-length":
		if h.length >= 0 || len(value) == 0 || len(value) > 6 {
			return false
		}
		h.length = 0
		for _, c := range value {
			if c < '0' || c > '9' {
				return false
			}
			h.length = 10*h.length + int(c-'0')
		}
	case "content-type":
		if h.contentType != nil {
			return false
		}
		h.contentType = value
	case "authorization":
		if h.authorization != nil {
			return false
		}
		h.authorization = value
	case "connection":
		return strings.EqualFold(string(value), "keep-alive")
	case "user-agent", "accept", "accept-encoding", "accept-language", "cache-control", "pragma":
	default:
		return false
	}
	return true
}

func plainHost(b []byte) bool {
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ':', c == '[', c == ']':
		default:
			return false
		}
	}
	return true
}
