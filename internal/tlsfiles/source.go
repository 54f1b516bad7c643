package tlsfiles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// Options say how the connections of a server are secured, those that it accepts and those that it dials.
type Options struct {
	Files                        // the pair that it shows, and the CAs that others are verified against
	ClientCert, ClientKey string // the pair to show when dialing, if it is another one
	CRL                   string // certificates in it are refused, "" for none

	// RequireClient has clients verified even if there is no CA: then against the system's.
	RequireClient bool
	// AllowedCNs and AllowedHostnames bound who the others may be, clients and servers alike; at most one of the two is set.
	// Whoever accepts connections wants certificates then.
	AllowedCNs, AllowedHostnames []string
	// CheckAddress refuses a client that is not at one of the addresses or host names that its certificate is for.
	CheckAddress bool
	Resolver     Resolver // for CheckAddress; nil stands for the system's

	MinVersion, MaxVersion uint16
	CipherSuites           []uint16 // of TLS 1.2; nil stands for the usual ones

	ServerName string // expected of those who are dialed, in the place of the host in their URL
	SkipVerify bool   // dial without verifying

	Logger *slog.Logger
}

// Source is the state of the files. A changed file counts from the next connection on; while files are broken, what they
// held before is used, and the log says so. Its methods may be called from any goroutine.
type Source struct {
	opts Options
	mu   sync.Mutex
	read []stamp  // of the files when they were read last
	bad  []stamp  // of the files when they could not be read
	now  *content // never nil
}

// stamp tells states of a file apart.
type stamp struct{ fi os.FileInfo } // nil if it cannot be looked at

func (s stamp) same(o stamp) bool {
	if s.fi == nil || o.fi == nil {
		return s.fi == o.fi
	}
	return os.SameFile(s.fi, o.fi) && s.fi.ModTime().Equal(o.fi.ModTime()) && s.fi.Size() == o.fi.Size()
}

func sameFiles(a, b []stamp) bool { return slices.EqualFunc(a, b, stamp.same) }

// content is what is made of the files.
type content struct {
	server, client *tls.Config
	roots          *x509.CertPool // nil stands for the system's
	revoked        map[string]bool
}

// Open reads the files for the first time. It fails with what is wrong with them or with the options.
func Open(o Options) (*Source, error) {
	switch {
	case len(o.AllowedCNs) > 0 && len(o.AllowedHostnames) > 0:
		return nil, fmt.Errorf("AllowedCNs and AllowedHostnames are mutually exclusive (cns=%v, hostnames=%v)", o.AllowedCNs, o.AllowedHostnames)
	case (o.ClientCert == "") != (o.ClientKey == ""):
		return nil, fmt.Errorf("ClientKeyFile and ClientCertFile must both be present[key: %v, cert: %v]", o.ClientKey, o.ClientCert)
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	s := &Source{opts: o, read: o.stat()}
	var err error
	s.now, err = s.load()
	return s, err
}

// stat looks at all files.
func (o *Options) stat() (out []stamp) {
	for _, name := range []string{o.Cert, o.Key, o.ClientCert, o.ClientKey, o.CA, o.CRL} {
		if name == "" {
			continue
		}
		fi, _ := os.Stat(name) // nil with an error
		out = append(out, stamp{fi})
	}
	return out
}

// current looks whether a file has changed, and is what there is to be used.
func (s *Source) current() *content {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := s.opts.stat()
	if sameFiles(is, s.read) || sameFiles(is, s.bad) {
		return s.now
	}
	c, err := s.load()
	if err != nil {
		// A pair is exchanged file by file: in between the two do not belong together.
		s.bad = is
		s.opts.Logger.Error("TLS files have changed and cannot be used: those before are used on", "error", err.Error())
		return s.now
	}
	s.now, s.read, s.bad = c, is, nil
	s.opts.Logger.Info("TLS files have changed and been read", "cert", s.opts.Cert, "trusted-ca", s.opts.CA, "crl", s.opts.CRL)
	return c
}

// load reads the files.
func (s *Source) load() (*content, error) {
	o := &s.opts
	c := &content{}
	pair, err := o.pair()
	if err != nil {
		return nil, err
	}
	shown := pair
	if o.ClientCert != "" {
		if shown, err = (Files{Cert: o.ClientCert, Key: o.ClientKey}).pair(); err != nil {
			return nil, err
		}
	}
	if c.roots, err = o.roots(); err != nil {
		return nil, err
	}
	if o.CRL != "" {
		if c.revoked, err = readCRL(o.CRL); err != nil {
			return nil, err
		}
	}
	base := tls.Config{MinVersion: max(o.MinVersion, tls.VersionTLS12), MaxVersion: o.MaxVersion, CipherSuites: o.CipherSuites}
	c.client = base.Clone()
	c.client.RootCAs, c.client.ServerName, c.client.InsecureSkipVerify = c.roots, o.ServerName, o.SkipVerify
	c.client.Certificates = shown
	c.client.VerifyConnection = func(cs tls.ConnectionState) error { return s.judge(c, &cs) }

	c.server = base.Clone()
	c.server.Certificates = pair
	// A ticket would outlive what the CAs or the list of revoked certificates were when it was made.
	c.server.SessionTicketsDisabled = true
	if o.CA != "" || o.RequireClient || o.named() {
		c.server.ClientAuth, c.server.ClientCAs = tls.RequireAndVerifyClientCert, c.roots
	}
	c.server.VerifyConnection = c.client.VerifyConnection
	return c, nil
}

func (o *Options) named() bool { return len(o.AllowedCNs) > 0 || len(o.AllowedHostnames) > 0 }

// judge decides on the other side, whose certificate has been verified, if it has shown one.
func (s *Source) judge(c *content, cs *tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return nil
	}
	for _, cert := range cs.PeerCertificates {
		if c.revoked[cert.SerialNumber.String()] {
			return fmt.Errorf("the certificate with serial number %x is revoked", cert.SerialNumber)
		}
	}
	o := &s.opts
	if !o.named() {
		return nil
	}
	if len(cs.VerifiedChains) == 0 {
		return errors.New("certificate authentication failed: it is not verified")
	}
	leaf := cs.VerifiedChains[0][0]
	if slices.Contains(o.AllowedCNs, leaf.Subject.CommonName) {
		return nil
	}
	for _, name := range o.AllowedHostnames {
		if leaf.VerifyHostname(name) == nil {
			return nil
		}
	}
	return fmt.Errorf("certificate authentication failed: %q is not among those that are allowed", leaf.Subject.CommonName)
}

// lookUpWithin bounds how long a client may wait for the names of its certificate to be looked up.
const lookUpWithin = 5 * time.Second

// Server is the configuration of a listener that speaks the protocols, most wanted first.
func (s *Source) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now := s.current()
			c := now.server.Clone()
			c.NextProtos = protocols
			if s.opts.CheckAddress && hello.Conn.RemoteAddr().Network() == "tcp" {
				c.VerifyConnection = func(cs tls.ConnectionState) error {
					if err := s.judge(now, &cs); err != nil || len(cs.PeerCertificates) == 0 {
						return err
					}
					ctx, cancel := context.WithTimeout(hello.Context(), lookUpWithin)
					defer cancel()
					return checkAddress(ctx, s.opts.Resolver, cs.PeerCertificates[0], hello.Conn.RemoteAddr().String())
				}
			}
			return c, nil
		},
	}
}

// Cert is the file of the certificate.
func (s *Source) Cert() string { return s.opts.Cert }

// Client is the configuration to dial with, for one connection: the next one may find other files.
func (s *Source) Client() *tls.Config { return s.current().client.Clone() }
