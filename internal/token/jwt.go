package token

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/wire"
)

const defaultTTL = 5 * time.Minute

// errVerifyOnly says that this member can check tokens and not make them.
var errVerifyOnly = errors.New("auth: token signing attempted with verify-only key")

// signed are tokens that carry who they stand for, signed with a key that members share.
type signed struct {
	method  jwt.SigningMethod
	private any // nil for a member that only verifies
	public  any
	ttl     time.Duration
	parser  *jwt.Parser
}

func newJWT(opts map[string]string, log *slog.Logger) (*signed, error) {
	fail := func(format string, args ...any) (*signed, error) {
		return nil, fmt.Errorf("%w: %w", errOptions, fmt.Errorf(format, args...))
	}
	for name := range opts { // each is warned about, in whatever order
		if !slices.Contains([]string{"sign-method", "pub-key", "priv-key", "ttl"}, name) {
			log.Warn("unknown JWT options", "option", name)
		}
	}
	s := &signed{method: jwt.GetSigningMethod(opts["sign-method"]), ttl: defaultTTL}
	if s.method == nil || s.method == jwt.SigningMethodNone {
		return fail("sign-method=%q is none of RS, PS, ES and HS with 256, 384 or 512, and EdDSA", opts["sign-method"])
	}
	if t, ok := opts["ttl"]; ok {
		d, err := time.ParseDuration(t)
		if err != nil || d <= 0 {
			return fail("ttl=%q is no duration", t)
		}
		s.ttl = d
	}
	if err := s.load(opts["priv-key"], opts["pub-key"]); err != nil {
		return fail("%w", err)
	}
	s.parser = jwt.NewParser(jwt.WithValidMethods([]string{s.method.Alg()}), jwt.WithExpirationRequired())
	return s, nil
}

// load reads the keys. A private key alone has the public one in it.
func (s *signed) load(private, public string) error {
	if private == "" && public == "" {
		return errors.New("priv-key or pub-key is missing")
	}
	if _, ok := s.method.(*jwt.SigningMethodHMAC); ok {
		if private == "" {
			return errors.New("priv-key is missing")
		}
		secret, err := os.ReadFile(private)
		if err != nil {
			return err
		}
		if len(secret) == 0 {
			return fmt.Errorf("%s is empty", private)
		}
		s.private, s.public = secret, secret
		return nil
	}
	if private != "" {
		pem, err := os.ReadFile(private)
		if err != nil {
			return err
		}
		key, err := parsePrivate(s.method, pem)
		if err != nil {
			return fmt.Errorf("%s: %w", private, err)
		}
		s.private, s.public = key, key.Public()
	}
	if public == "" {
		return nil
	}
	pem, err := os.ReadFile(public)
	if err != nil {
		return err
	}
	key, err := parsePublic(s.method, pem)
	if err != nil {
		return fmt.Errorf("%s: %w", public, err)
	}
	if own, ok := s.public.(interface{ Equal(crypto.PublicKey) bool }); ok && !own.Equal(key) {
		return errors.New("priv-key and pub-key do not belong together")
	}
	s.public = key
	return nil
}

func parsePrivate(m jwt.SigningMethod, pem []byte) (crypto.Signer, error) {
	switch m.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return jwt.ParseRSAPrivateKeyFromPEM(pem)
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPrivateKeyFromPEM(pem)
	}
	key, err := jwt.ParseEdPrivateKeyFromPEM(pem)
	if err != nil {
		return nil, err
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	return s, nil
}

func parsePublic(m jwt.SigningMethod, pem []byte) (any, error) {
	switch m.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		return jwt.ParseRSAPublicKeyFromPEM(pem)
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPublicKeyFromPEM(pem)
	}
	return jwt.ParseEdPublicKeyFromPEM(pem)
}

// Prefix implements Provider.
func (s *signed) Prefix() (string, error) { return "", nil }

// Issue implements Provider.
func (s *signed) Issue(user string, revision uint64) (string, error) {
	if s.private == nil {
		return "", errVerifyOnly
	}
	return jwt.NewWithClaims(s.method, jwt.MapClaims{"username": user, "revision": revision, "exp": time.Now().Add(s.ttl).Unix()}).SignedString(s.private)
}

// claims are what a token says.
type claims struct {
	Username *string `json:"username"`
	Revision *uint64 `json:"revision"`
	jwt.RegisteredClaims
}

// Identify implements Provider. The identity is as old as the token says.
func (s *signed) Identify(_ context.Context, token string, _ uint64) (auth.Identity, error) {
	var c claims
	t, err := s.parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return s.public, nil })
	if err != nil || !t.Valid || c.Username == nil || c.Revision == nil || *c.Username == "" || *c.Revision == auth.Member.Revision {
		return auth.Identity{}, wire.ErrInvalidAuthToken
	}
	return auth.Identity{User: *c.Username, Revision: *c.Revision}, nil
}

// Login, Logout and Close implement Provider: such tokens are kept by nobody.
func (s *signed) Login(string, string) {}
func (s *signed) Logout(string)        {}
func (s *signed) Close()               {}
