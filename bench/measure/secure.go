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
		{work: "secure: put over TLS, " + many, measure: overTLS(beside(putMany)), targets: append(targets{times(report.Extra, 1)}, fast[1:]...)},
		{work: "secure: linearizable get over TLS, " + many, measure: overTLS(beside(linearizable)), targets: targets{times(report.Extra, 1)}},
		{work: "secure: put as a user, " + many, measure: asUser(beside(putMany)), targets: append(targets{{Metric: report.Kept, Bound: report.AtLeast, Value: 0.9}}, fast...)},
		{work: fmt.Sprintf("secure: log in again, %d clients", p.Writers), measure: logins, targets: targets{{Metric: report.Throughput, Bound: report.AtLeast, Value: 2000}}},
	}}
}

// beside does the work first plainly and then in the way that is measured, and tells what that has cost.
func beside(work measurement) func(ctx context.Context, s *subject, begin func() error) (report.Sample, error) {
	return func(ctx context.Context, s *subject, begin func() error) (report.Sample, error) {
		plain, err := work(ctx, s)
		if err != nil {
			return nil, err
		}
		if err := begin(); err != nil {
			return nil, err
		}
		got, err := work(ctx, s)
		if err != nil {
			return nil, err
		}
		got[report.Extra] = got[report.CPUPerOp] - plain[report.CPUPerOp]
		got[report.Kept] = got[report.Throughput] / plain[report.Throughput]
		return got, nil
	}
}

// overTLS does the second half of a work over TLS.
func overTLS(work func(context.Context, *subject, func() error) (report.Sample, error)) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		defer func() { s.way = nil }()
		return work(ctx, s, func() error {
			s.way = []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(s.tls)), grpc.WithAuthority("127.0.0.1"),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", s.tlsAddr)
				})}
			return nil
		})
	}
}

// token goes along with every call.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"token": string(t)}, nil
}

func (token) RequireTransportSecurity() bool { return false }

// asUser does the second half of a work as a user, with authentication on.
func asUser(work func(context.Context, *subject, func() error) (report.Sample, error)) measurement {
	return func(ctx context.Context, s *subject) (report.Sample, error) {
		defer func() { s.way = nil }()
		got, err := work(ctx, s, func() error { return s.become(ctx, userName, true) })
		if err == nil {
			err = s.become(ctx, userRoot, true)
		}
		if err == nil {
			err = s.auth(ctx, func(a pb.AuthClient) error {
				_, err := a.AuthDisable(ctx, &pb.AuthDisableRequest{})
				return err
			})
		}
		return got, err
	}
}

func (s *subject) auth(ctx context.Context, do func(a pb.AuthClient) error) error {
	c, err := s.Dial(s.way...)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(pb.NewAuthClient(c))
}

// become logs in, and switches authentication on before if it is wanted.
func (s *subject) become(ctx context.Context, name string, enable bool) error {
	s.way = nil
	return s.auth(ctx, func(a pb.AuthClient) error {
		if enable {
			_, _ = a.AuthEnable(ctx, &pb.AuthEnableRequest{}) // it may be on already, and then wants to know who asks
		}
		r, err := a.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: userPassword})
		if err == nil {
			s.way = []grpc.DialOption{grpc.WithPerRPCCredentials(token(r.Token))}
		}
		return err
	})
}

// logins: users that have logged in before do it again.
func logins(ctx context.Context, s *subject) (report.Sample, error) {
	if err := s.become(ctx, userRoot, true); err != nil {
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
	return got, s.auth(ctx, func(a pb.AuthClient) error {
		_, err := a.AuthDisable(ctx, &pb.AuthDisableRequest{})
		return err
	})
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
