package measure

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cairn-kv/cairn/bench/report"
)

// The users of the scene. Anybody may do what is below the prefix of puts.
const (
	userRoot, userName, userPassword = "root", "ann", "secret"
	userRole                         = "writer"
)

// secureScene measures what it costs to know who asks, and to let nobody else listen. Its servers have a URL more, with TLS.
func secureScene(p *Plan) *scene {
	many := fmt.Sprintf("%d clients, %d connections", p.Clients, p.Conns)
	fast := targets{{Metric: report.Throughput, Bound: report.TimesAtLeast, Value: 1.6}, times(report.CPUPerOp, 0.5)}
	return &scene{secure: true, prepare: addUsers, rows: []row{
		{work: "secure: put over TLS, " + many, measure: beside(putMany, overTLS), targets: append(targets{times(report.Extra, 1)}, fast[1:]...)},
		{work: "secure: linearizable get over TLS, " + many, measure: beside(linearizable, overTLS), targets: targets{times(report.Extra, 1)}},
		{work: "secure: put as a user, " + many, measure: beside(putMany, asUser), targets: append(targets{{Metric: report.Kept, Bound: report.AtLeast, Value: 0.9}}, fast...)},
		{work: fmt.Sprintf("secure: log in again, %d clients", p.Writers), measure: logins, targets: targets{{Metric: report.Throughput, Bound: report.AtLeast, Value: 2000}}},
	}}
}

// way is another way to do a work: begin takes it, and end leaves it.
type way struct {
	begin, end func(ctx context.Context, s *subject) error
}

// beside does the work plainly, in the way that is measured, and plainly again, as what is done later meets a larger store. It tells
// what the way has cost.
func beside(work measurement, w way) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		var samples [3]report.Sample
		for i, change := range []func(ctx context.Context, s *subject) error{nil, w.begin, w.end} {
			if change != nil {
				if err := change(ctx, s); err != nil {
					return nil, err
				}
			}
			var err error
			if samples[i], err = work(ctx, s); err != nil {
				return nil, err
			}
		}
		got := samples[1]
		plain := func(m report.Metric) float64 { return (samples[0][m] + samples[2][m]) / 2 }
		got[report.Extra] = got[report.CPUPerOp] - plain(report.CPUPerOp)
		got[report.Kept] = got[report.Throughput] / plain(report.Throughput)
		return got, nil
	}
}

// overTLS is the way over TLS.
var overTLS = way{
	begin: func(_ context.Context, s *subject) error {
		s.way = []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(s.tls)), grpc.WithAuthority("127.0.0.1"),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", s.tlsAddr)
			})}
		return nil
	},
	end: func(_ context.Context, s *subject) error {
		s.way = nil
		return nil
	},
}

// asUser is the way of a user, with authentication on.
var asUser = way{
	begin: func(ctx context.Context, s *subject) error { return s.become(ctx, userName) },
	end:   disable,
}

// disable switches authentication off.
func disable(ctx context.Context, s *subject) error {
	defer func() { s.way = nil }()
	if err := s.become(ctx, userRoot); err != nil {
		return err
	}
	return s.auth(ctx, func(a pb.AuthClient) error {
		_, err := a.AuthDisable(ctx, &pb.AuthDisableRequest{})
		return err
	})
}

// token goes along with every call.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"token": string(t)}, nil
}

func (token) RequireTransportSecurity() bool { return false }

func (s *subject) auth(ctx context.Context, do func(a pb.AuthClient) error) error {
	c, err := s.Dial(s.way...)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(pb.NewAuthClient(c))
}

// become switches authentication on, if it is off, and logs in.
func (s *subject) become(ctx context.Context, name string) error {
	s.way = nil
	return s.auth(ctx, func(a pb.AuthClient) error {
		_, _ = a.AuthEnable(ctx, &pb.AuthEnableRequest{}) // where it is on, it wants to know who asks
		r, err := a.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: userPassword})
		if err == nil {
			s.way = []grpc.DialOption{grpc.WithPerRPCCredentials(token(r.Token))}
		}
		return err
	})
}

// logins: users that have logged in before do it again.
func logins(ctx context.Context, s *subject) (report.Sample, error) {
	if err := s.become(ctx, userRoot); err != nil {
		return nil, err
	}
	defer func() { s.way = nil }()
	got, err := s.loop(ctx, s.plan.Writers, func(ctx context.Context, _ int) (call, error) {
		c, err := s.Dial()
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = c.Close() })
		a := pb.NewAuthClient(c)
		return func(ctx context.Context) error {
			_, err := a.Authenticate(ctx, &pb.AuthenticateRequest{Name: userName, Password: userPassword})
			return err
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return got, disable(ctx, s)
}

// addUsers makes root, and a user that may do what is measured.
func addUsers(ctx context.Context, s *subject) error {
	if err := s.load(ctx, pagePrefix, s.plan.Page); err != nil {
		return err
	}
	return s.auth(ctx, func(a pb.AuthClient) error {
		for _, role := range []string{"root", userRole} {
			if _, err := a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: role}); err != nil {
				return err
			}
		}
		if _, err := a.RoleGrantPermission(ctx, &pb.AuthRoleGrantPermissionRequest{Name: userRole,
			Perm: &authpb.Permission{PermType: authpb.Permission_READWRITE, Key: []byte("a"), RangeEnd: []byte("zz")}}); err != nil {
			return err
		}
		for user, role := range map[string]string{userRoot: "root", userName: userRole} {
			if _, err := a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: user, Password: userPassword}); err != nil {
				return err
			}
			if _, err := a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: user, Role: role}); err != nil {
				return err
			}
		}
		return nil
	})
}

// certify makes a certificate for loopback, and says how to serve and to trust it.
func certify(dir string) (flags []string, trust *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pemCert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, pemCert, 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pemCert)
	return []string{"--cert-file", certFile, "--key-file", keyFile}, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}, nil
}
