// Package token gives users tokens and tells whom a token stands for (v3-grpc.md section 15.8).
//
// It must never see a password, and never says what a token is in an error or a log.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Provider is one kind of tokens.
type Provider interface {
	// Prefix begins a token that every member makes when it applies the login; "" if tokens are not made in that way.
	Prefix() (string, error)
	// Issue makes a token by itself, for a user at a revision of the table of users.
	Issue(user string, revision uint64) (string, error)
	// Identify tells whom a token stands for, or refuses it with wire.ErrInvalidAuthToken. revision is the present one.
	Identify(ctx context.Context, token string, revision uint64) (auth.Identity, error)
	// Login and Logout tell of what was applied. An empty name logs all users out.
	Login(user, token string)
	Logout(user string)
	Close()
}

// Config says what tokens are like.
type Config struct {
	Options string // the value of --auth-token
	TTL     time.Duration
	// Await waits until an entry of the log is applied here.
	Await  func(ctx context.Context, index uint64) error
	Logger *slog.Logger
}

// errOptions begins every complaint about the options.
var errOptions = errors.New("auth: invalid auth options")

// New makes the provider that the options name.
func New(cfg Config) (Provider, error) {
	kind, rest, _ := strings.Cut(cfg.Options, ",")
	opts := map[string]string{}
	if rest != "" {
		for _, pair := range strings.Split(rest, ",") {
			name, value, ok := strings.Cut(pair, "=")
			if _, twice := opts[name]; !ok || twice {
				return nil, fmt.Errorf("%w: %q: name=value is expected, each name once", errOptions, pair)
			}
			opts[name] = value
		}
	}
	switch kind {
	case "":
		return nothing{}, nil
	case "simple":
		cfg.Logger.Warn("simple token is not cryptographically signed")
		return newSimple(cfg), nil
	case "jwt":
		return newJWT(opts, cfg.Logger)
	}
	return nil, fmt.Errorf("%w: there is no kind %q of tokens, but simple and jwt", errOptions, kind)
}

// nothing takes no token for valid.
type nothing struct{}

func (nothing) Prefix() (string, error)              { return "", nil }
func (nothing) Issue(string, uint64) (string, error) { return "", wire.ErrInvalidAuthToken }
func (nothing) Login(string, string)                 {}
func (nothing) Logout(string)                        {}
func (nothing) Close()                               {}

func (nothing) Identify(context.Context, string, uint64) (auth.Identity, error) {
	return auth.Identity{}, wire.ErrInvalidAuthToken
}
