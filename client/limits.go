package client

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// LimitKind says what a limit is for.
type LimitKind string

// The kinds of limits.
const (
	LimitUser   LimitKind = "user"
	LimitPrefix LimitKind = "prefix"
)

// LimitTarget is whom or what a limit is for.
type LimitTarget struct {
	Kind LimitKind `json:"kind"`
	// Name is that of the user, or the prefix: an empty one stands for all keys.
	Name []byte `json:"name"`
}

// Limit is what one user or prefix is limited to; 0 stands for no limit. Rates are judged by each member for what it is asked;
// quotas hold for the cluster, and are for prefixes only. A request beyond a limit fails with codes.ResourceExhausted.
type Limit struct {
	LimitTarget
	WritesPerSecond int64 `json:"writesPerSecond,omitempty"`
	WriteBurst      int64 `json:"writeBurst,omitempty"` // how many may come at once; 0 when it is set: as many as in a second
	ReadsPerSecond  int64 `json:"readsPerSecond,omitempty"`
	ReadBurst       int64 `json:"readBurst,omitempty"`
	MaxKeys         int64 `json:"maxKeys,omitempty"`
	MaxBytes        int64 `json:"maxBytes,omitempty"` // of keys and their newest values
}

// LimitStatus is a limit, and for a prefix how many keys and bytes there are.
type LimitStatus struct {
	Limit
	Keys  int64 `json:"keys"`
	Bytes int64 `json:"bytes"`
}

// LimitListResponse has the limits of users by name, and then those of prefixes.
type LimitListResponse struct {
	Limits []LimitStatus `json:"limits"`
}

// Limits sets what users and prefixes are limited to. Only cairn has it; an etcd answers codes.Unimplemented. Where
// authentication is on it takes the role root.
type Limits interface {
	// LimitSet sets the limit of a user or prefix, in the place of the one before.
	LimitSet(ctx context.Context, l Limit) error
	// LimitRemove removes a limit; codes.NotFound says that there is none.
	LimitRemove(ctx context.Context, t LimitTarget) error
	LimitList(ctx context.Context) (*LimitListResponse, error)
}

type limits struct{ conn grpc.ClientConnInterface }

// NewLimits makes the part of a client that sets limits.
func NewLimits(c *Client) Limits { return &limits{c.conn} }

// LimitStruct is a limit, or the target of one, as the message that carries it.
func LimitStruct(l any) (*structpb.Struct, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	q := &structpb.Struct{}
	return q, protojson.Unmarshal(text, q)
}

func (l *limits) LimitSet(ctx context.Context, limit Limit) error {
	return l.change(ctx, "/cairn.Limits/Set", limit)
}

func (l *limits) LimitRemove(ctx context.Context, t LimitTarget) error {
	return l.change(ctx, "/cairn.Limits/Remove", t)
}

func (l *limits) change(ctx context.Context, method string, v any) error {
	q, err := LimitStruct(v)
	if err != nil {
		return err
	}
	return ContextError(ctx, l.conn.Invoke(ctx, method, q, new(emptypb.Empty)))
}

func (l *limits) LimitList(ctx context.Context) (*LimitListResponse, error) {
	a := &structpb.Struct{}
	if err := l.conn.Invoke(ctx, "/cairn.Limits/List", new(emptypb.Empty), a); err != nil {
		return nil, ContextError(ctx, err)
	}
	text, err := protojson.Marshal(a)
	if err != nil {
		return nil, err
	}
	out := &LimitListResponse{}
	if err := json.Unmarshal(text, out); err != nil {
		return nil, fmt.Errorf("etcdclient: malformed list of limits: %w", err)
	}
	return out, nil
}
