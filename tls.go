package cairn

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cairn-kv/cairn/internal/tlsfiles"
	"github.com/cairn-kv/cairn/internal/vfs"
)

// validateTLS checks what is asked for. It touches no file.
func (c *Config) validateTLS() error {
	lowest, err := tlsfiles.Version(c.TLSMinVersion)
	highest, err2 := tlsfiles.Version(c.TLSMaxVersion)
	if err := cmp.Or(err, err2); err != nil {
		return err
	}
	suites, err := tlsfiles.CipherSuites(splitList(c.CipherSuites))
	switch {
	case err != nil:
		return err
	case highest != 0 && lowest > highest:
		return fmt.Errorf("min version (%s) is greater than max version (%s)", c.TLSMinVersion, c.TLSMaxVersion)
	case len(suites) > 0 && lowest == tls.VersionTLS13:
		return errors.New("cipher suites cannot be configured when only TLS1.3 is enabled")
	case c.SelfSignedCertValidity <= 0 && (c.ClientTLS.auto() || c.PeerTLS.auto()):
		return fmt.Errorf("--self-signed-cert-validity must be >0 (set to %d)", c.SelfSignedCertValidity)
	}
	for _, side := range []struct {
		kind, prefix string
		urls         []url.URL
		*TLSConfig
	}{{"client", "", c.ListenClientURLs, &c.ClientTLS}, {"metrics", "", c.ListenMetricsURLs, &c.ClientTLS}, {"peer", "peer-", c.ListenPeerURLs, &c.PeerTLS}} {
		for _, u := range side.urls {
			switch {
			case isSecure(u) && (side.CertFile == "" || side.KeyFile == "") && !side.auto():
				return fmt.Errorf("TLS key/cert (--%scert-file, --%skey-file) must be provided for %s url %s with HTTPS scheme", side.prefix, side.prefix, side.kind, u.String())
			case !isSecure(u) && (side.CertFile != "" || side.KeyFile != ""):
				c.note(slog.LevelWarn, "scheme is http or unix while key and cert files are present; ignoring key and cert files", side.kind+"-url", u.String())
			case !isSecure(u) && side.ClientCertAuth:
				c.note(slog.LevelWarn, "scheme is http or unix while --"+side.prefix+"client-cert-auth is enabled; ignoring client cert auth for this url", side.kind+"-url", u.String())
			}
		}
	}
	return nil
}

// auto reports whether the member makes its own certificate.
func (t *TLSConfig) auto() bool { return t.AutoTLS && t.CertFile == "" && t.KeyFile == "" }

// secrets are the TLS files of a process.
type secrets struct {
	clients *tlsfiles.Source // nil if they are not used
	peers   *tlsfiles.Source
}

// openTLS reads the files that are used.
func (c *Config) openTLS(log *slog.Logger) (s secrets, err error) {
	serving := secure(append(slices.Clone(c.ListenClientURLs), c.ListenMetricsURLs...))
	if len(serving) > 0 || c.Proxy.Mode != proxyOff && c.ClientTLS.dials() {
		if s.clients, err = c.source(&c.ClientTLS, serving, "client", log); err != nil {
			return s, fmt.Errorf("TLS for clients: %w", err)
		}
	}
	if s.peers, err = c.source(&c.PeerTLS, secure(c.ListenPeerURLs), "peer", log); err != nil {
		return s, fmt.Errorf("TLS for members: %w", err)
	}
	return s, nil
}

func secure(us []url.URL) []url.URL {
	return slices.DeleteFunc(slices.Clone(us), func(u url.URL) bool { return !isSecure(u) })
}

// dials reports whether there is anything to dial with.
func (t *TLSConfig) dials() bool {
	return t.CertFile != "" || t.ClientCertFile != "" || t.TrustedCAFile != ""
}

// source opens the files of one side. What the member makes itself is for the hosts of the URLs, in a directory of that name.
func (c *Config) source(t *TLSConfig, urls []url.URL, name string, log *slog.Logger) (*tlsfiles.Source, error) {
	o := tlsfiles.Options{
		Files:      tlsfiles.Files{Cert: t.CertFile, Key: t.KeyFile, CA: t.TrustedCAFile},
		ClientCert: t.ClientCertFile, ClientKey: t.ClientKeyFile, CRL: t.CRLFile, RequireClient: t.ClientCertAuth,
		AllowedCNs: splitList(t.AllowedCNs), AllowedHostnames: splitList(t.AllowedHostnames), Logger: log,
	}
	// Validate has seen these.
	o.MinVersion, _ = tlsfiles.Version(c.TLSMinVersion)
	o.MaxVersion, _ = tlsfiles.Version(c.TLSMaxVersion)
	o.CipherSuites, _ = tlsfiles.CipherSuites(splitList(c.CipherSuites))
	if t == &c.PeerTLS {
		o.CheckAddress = !t.SkipClientSANVerification
		o.SkipVerify = t.auto()
		if t.TrustedCAFile == "" {
			o.ServerName = c.Discovery.SRV // "" if it is not used (v2-http.md D-48)
		}
	}
	if t.auto() && len(urls) > 0 {
		dir := filepath.Join(c.DataDir, "fixtures", name)
		if err := makeDir(vfs.OS(), dir); err != nil {
			return nil, err
		}
		var hosts []string
		for _, u := range urls {
			hosts = append(hosts, u.Host)
		}
		made, err := tlsfiles.SelfSigned(dir, hosts, c.SelfSignedCertValidity, time.Now())
		if err != nil {
			return nil, err
		}
		o.Cert, o.Key = made.Cert, made.Key
		log.Info("serving with a certificate that vouches for itself", "cert", made.Cert, "hosts", hosts)
	}
	return tlsfiles.Open(o)
}

// fromEntrance are the credentials of connections that an entrance has secured, or has let in without TLS.
type fromEntrance struct {
	credentials.TransportCredentials
}

func newFromEntrance() credentials.TransportCredentials {
	return fromEntrance{insecure.NewCredentials()}
}

func (e fromEntrance) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if s, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
		return c, credentials.TLSInfo{State: s.ConnectionState(), CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
	}
	return e.TransportCredentials.ServerHandshake(c)
}

func (e fromEntrance) Clone() credentials.TransportCredentials { return e }
