package security

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cairn-kv/cairn/test/certs"
	"github.com/cairn-kv/cairn/test/process"
)

// door is a listener with those who may come to it.
type door struct {
	name string
	addr func(w *world) string
	ca   func(w *world) *certs.CA
	crl  func(w *world) string
	path string // that answers those who are let in
	cn   string // of those who are
}

func doors() []door {
	clients := func(w *world) *certs.CA { return w.clientCA }
	crl := func(w *world) string { return w.crl }
	return []door{
		{"clients", func(w *world) string { return w.Members[1].Client }, clients, crl, "/version", ""},
		{"metrics", func(w *world) string { return w.metrics[1] }, clients, crl, "/metrics", ""},
		{"members", func(w *world) string { return w.Members[1].Peer }, func(w *world) *certs.CA { return w.peerCA }, func(w *world) string { return w.peerCRL }, "/members", "member"},
	}
}

// knock asks for what the door answers with, over HTTP.
func (d door) knock(w *world, c *tls.Config) outcome {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", d.addr(w), c)
	if err != nil {
		return refused(err)
	}
	defer conn.Close()
	a := exchange(conn, "GET "+d.path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
	return unless(a.err, a.body)
}

func certificateAttempts() (out []attempt) {
	for _, d := range doors() {
		add := func(name string, run func(w *world, t *testing.T) outcome) {
			out = append(out, attempt{name: d.name + "/" + name, run: run})
		}
		with := func(name string, pair func(w *world, t *testing.T) certs.Pair) {
			add(name, func(w *world, t *testing.T) outcome {
				c := untrusting()
				pair := pair(w, t).TLS(t)
				// Whatever the server says that it trusts.
				c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
				return d.knock(w, c)
			})
		}
		issue := func(w *world, t *testing.T, hosts []string, change ...func(*x509.Certificate)) certs.Pair {
			return d.ca(w).Issue(t, d.cn, hosts, change...)
		}
		add("who belongs there is let in", func(w *world, t *testing.T) outcome {
			c := untrusting()
			c.Certificates = []tls.Certificate{issue(w, t, local).TLS(t)}
			if o := d.knock(w, c); o.got == "" {
				return through("nobody is let in: " + o.refused.Error())
			}
			return refused(errors.New("this was no attack"))
		})
		add("no certificate", func(w *world, t *testing.T) outcome { return d.knock(w, untrusting()) })
		with("another CA of the same name", func(w *world, t *testing.T) certs.Pair { return w.otherCA.Issue(t, d.cn, local) })
		with("the CA of the other side", func(w *world, t *testing.T) certs.Pair {
			if d.name == "members" {
				return w.clientCA.Issue(t, d.cn, local)
			}
			return w.peerCA.Issue(t, d.cn, local)
		})
		with("expired", func(w *world, t *testing.T) certs.Pair { return issue(w, t, local, expired) })
		with("not good yet", func(w *world, t *testing.T) certs.Pair { return issue(w, t, local, early) })
		with("for servers only", func(w *world, t *testing.T) certs.Pair { return issue(w, t, local, forServer) })
		with("revoked", func(w *world, t *testing.T) certs.Pair {
			p := issue(w, t, local)
			d.ca(w).Revoke(t, d.crl(w), p)
			return p
		})
		add("plain text", func(w *world, t *testing.T) outcome {
			c, err := net.Dial("tcp", d.addr(w))
			if err != nil {
				return refused(err)
			}
			defer c.Close()
			a := exchange(c, "GET "+d.path+" HTTP/1.1\r\nHost: localhost\r\n\r\n")
			return unless(a.err, a.body)
		})
		add("TLS 1.1", func(w *world, t *testing.T) outcome {
			c := untrusting(tls.VersionTLS10, tls.VersionTLS11)
			c.Certificates = []tls.Certificate{issue(w, t, local).TLS(t)}
			return d.knock(w, c)
		})
		add("a weak cipher", func(w *world, t *testing.T) outcome {
			c := untrusting(tls.VersionTLS12, tls.VersionTLS12)
			c.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
			c.Certificates = []tls.Certificate{issue(w, t, local).TLS(t)}
			return d.knock(w, c)
		})
	}
	members := doors()[2]
	for name, pair := range map[string]func(w *world, t *testing.T) certs.Pair{
		"members/a name that is not allowed":       func(w *world, t *testing.T) certs.Pair { return w.peerCA.Issue(t, "members", local) },
		"members/no name":                          func(w *world, t *testing.T) certs.Pair { return w.peerCA.Issue(t, "", local) },
		"members/a name among the hosts":           func(w *world, t *testing.T) certs.Pair { return w.peerCA.Issue(t, "", []string{"127.0.0.1", "member"}) },
		"members/from where the certificate isn't": func(w *world, t *testing.T) certs.Pair { return w.peerCA.Issue(t, "member", []string{"127.0.0.2"}) },
	} {
		out = append(out, attempt{name: name, run: func(w *world, t *testing.T) outcome {
			c := untrusting()
			c.Certificates = []tls.Certificate{pair(w, t).TLS(t)}
			return members.knock(w, c)
		}})
	}
	out = append(out, attempt{name: "the server shows itself to those who ask for another name", run: func(w *world, t *testing.T) outcome {
		c := w.tls(t, w.nobody)
		c.ServerName = "example.com"
		_, err := tls.Dial("tcp", w.Members[0].Client, c)
		return unless(err, "a handshake")
	}}, attempt{name: "plain text inside gRPC", run: func(w *world, t *testing.T) outcome {
		c, err := net.Dial("tcp", w.Members[0].Client)
		if err != nil {
			return refused(err)
		}
		defer c.Close()
		_ = c.SetDeadline(deadline())
		_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		b, err := io.ReadAll(c)
		if strings.Contains(string(b), "\x00\x00\x00\x04\x01") {
			return through("settings")
		}
		if err == nil {
			err = errors.New("closed")
		}
		return refused(err)
	}})
	return out
}

var _ = process.Patience
