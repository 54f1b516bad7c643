package v3rpc

import (
	"context"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// identify finds out whom a call comes from (v3-grpc.md section 15.6). While authentication is off nobody asks.
func (c *core) identify(ctx context.Context) (auth.Identity, error) {
	id, err := c.identity(ctx)
	c.found(ctx, id)
	return id, err
}

func (c *core) identity(ctx context.Context) (auth.Identity, error) {
	v := c.View().Auth
	if !v.Enabled {
		return auth.Identity{}, nil
	}
	if token := tokenOf(ctx); token != "" {
		return c.cfg.Tokens.Identify(ctx, token, v.Revision)
	}
	if name := c.certificate(ctx); name != "" {
		return auth.Identity{User: name, Revision: v.Revision}, nil
	}
	return auth.Identity{}, nil
}

func tokenOf(ctx context.Context) string {
	for _, key := range []string{"token", "authorization"} {
		if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
			return strings.TrimPrefix(v[0], "Bearer ")
		}
	}
	return ""
}

// certificate is the common name of the caller's certificate, if certificates are checked. What comes through the gateway is
// on the gateway's own connection.
func (c *core) certificate(ctx context.Context) string {
	if !c.cfg.ClientCertAuth || len(metadata.ValueFromIncomingContext(ctx, "grpcgateway-accept")) > 0 {
		return ""
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return ""
	}
	return info.State.VerifiedChains[0][0].Subject.CommonName
}

// known refuses callers who are nobody.
func (c *core) known(ctx context.Context) error {
	id, err := c.identify(ctx)
	if err != nil {
		return err
	}
	return c.View().Auth.Known(id)
}

// admin refuses callers who are no administrators.
func (c *core) admin(ctx context.Context) error {
	id, err := c.identify(ctx)
	if err != nil {
		return err
	}
	return c.View().Auth.Admin(id)
}

// propose puts a caller's command into the log. What the caller may do is judged when it is applied.
func (c *core) propose(ctx context.Context, kind wire.Kind, body []byte) (machine.Result, error) {
	id, err := c.identify(ctx)
	if err != nil {
		return machine.Result{}, err
	}
	res, err := c.ProposeAs(ctx, id, kind, body)
	c.cfg.Metrics.refusedBy(err)
	return res, err
}

func (c *core) proposeMessage(ctx context.Context, kind wire.Kind, m proto.Message) (machine.Result, error) {
	body, err := proto.Marshal(m)
	if err != nil {
		return machine.Result{}, err
	}
	return c.propose(ctx, kind, body)
}

// reads refuses a caller who may not read what a view is asked for.
func reads(v *machine.View, id auth.Identity, q *wire.RangeRequest) error {
	if !v.Auth.Enabled {
		return nil
	}
	return v.Auth.Allow(id, auth.Read(wire.ParseRange(q.Key, q.End)))
}
