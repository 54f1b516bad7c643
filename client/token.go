package client

import (
	"context"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/metadata"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// metadataToken is the request metadata key that carries the auth token.
const metadataToken = "token"

// tokenSource keeps the client's auth token and fetches a new one when the
// server stops accepting it. However many calls find their token refused at the
// same time, one Authenticate call is made.
type tokenSource struct {
	user, password string
	fetch          func(ctx context.Context, user, password string) (string, error)

	fetching chan struct{} // holds one element: whoever takes it may fetch
	mu       sync.Mutex
	token    string
	round    uint64 // counts fetches, so that a caller sees somebody else's
}

func newTokenSource(user, password, token string) *tokenSource {
	t := &tokenSource{user: user, password: password, token: token, fetching: make(chan struct{}, 1)}
	t.fetching <- struct{}{}
	return t
}

// refreshable says whether there are credentials to fetch a token with.
func (t *tokenSource) refreshable() bool { return t.user != "" && t.password != "" }

func (t *tokenSource) current() (string, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.token, t.round
}

// refresh fetches a token unless another call did so since round seen.
func (t *tokenSource) refresh(ctx context.Context, seen uint64) error {
	select {
	case <-t.fetching:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { t.fetching <- struct{}{} }()
	if _, round := t.current(); round != seen {
		return nil
	}
	token, err := t.fetch(ctx, t.user, t.password)
	if isMessage(err, rpctypes.ErrGRPCAuthNotEnabled) {
		// Credentials on a server without auth are not a mistake.
		token, err = "", nil
	}
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.token, t.round = token, t.round+1
	t.mu.Unlock()
	return nil
}

// refused says whether err means that a fresh token may help.
func (t *tokenSource) refused(err error) bool {
	if isMessage(err, rpctypes.ErrGRPCInvalidAuthToken) ||
		isMessage(err, rpctypes.ErrGRPCAuthOldRevision) {
		return t.refreshable()
	}
	return isMessage(err, rpctypes.ErrGRPCUserEmpty) && t.refreshable()
}

// outgoing adds the client's own metadata to a call. A token the caller put into
// the context itself wins.
func (c *Client) outgoing(ctx context.Context) (context.Context, uint64) {
	md, _ := metadata.FromOutgoingContext(ctx)
	add := []string{rpctypes.MetadataClientAPIVersionKey, version.APIVersion}
	token, round := c.tokens.current()
	if token != "" && len(md.Get(metadataToken)) == 0 {
		add = append(add, metadataToken, token)
	}
	return metadata.AppendToOutgoingContext(ctx, add...), round
}

// WithRequireLeader asks the server to fail calls and streams of this context
// when it has lost its leader, instead of letting them wait.
func WithRequireLeader(ctx context.Context) context.Context {
	md, ok := metadata.FromOutgoingContext(ctx)
	if ok && len(md.Get(rpctypes.MetadataRequireLeaderKey)) > 0 {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}

// requiresLeader says whether WithRequireLeader was applied to ctx.
func requiresLeader(ctx context.Context) bool {
	md, _ := metadata.FromOutgoingContext(ctx)
	return len(md.Get(rpctypes.MetadataRequireLeaderKey)) > 0
}

// authenticate is the RPC behind tokenSource. It goes around the retry rules:
// a refused password is an answer, not a failure to try again.
func (c *Client) authenticate(ctx context.Context, user, password string) (string, error) {
	resp, err := pb.NewAuthClient(c.conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: user, Password: password})
	if err != nil {
		return "", ContextError(ctx, err)
	}
	return resp.Token, nil
}
