package peer

import (
	"context"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

// Raft is the member that messages are brought to. Its methods may be called from any goroutine, also from within Send
// and SetPeers, and must not block, but for Process and ProcessSnapshot.
type Raft interface {
	// Process steps a message from a peer. It is called in the order of each stream, so it may wait for room in a queue,
	// but not for a leader or a commit: the votes that bring a leader come the same way.
	Process(ctx context.Context, m *raftpb.Message) error
	// ProcessSnapshot keeps image, the database file that follows the MsgSnap m, and then steps m.
	ProcessSnapshot(ctx context.Context, m *raftpb.Message, image io.Reader) error
	// Removed reports whether id was once a member and was removed.
	Removed(id cluster.ID) bool
	// Unreachable is told that messages to id were dropped.
	Unreachable(id cluster.ID)
	// SnapshotSent is told how SendSnapshot has ended.
	SnapshotSent(id cluster.ID, err error)
	// Expelled is told, once for each peer, that it says this member was removed from the cluster.
	Expelled(err error)
	// Down is told that nothing listens at any address of id any more, once for each loss of a peer that was active.
	Down(id cluster.ID)
}

// Member is what the other handlers of the peer listener answer from. The contexts end when the peer has gone, when the
// time that etcd grants has passed, or with the Transport.
type Member interface {
	Members() []cluster.Member
	Version() (server, cluster string)
	// Promote makes a voter of a learner. The context may carry the caller's token (TokenFrom).
	Promote(ctx context.Context, id cluster.ID) ([]cluster.Member, error)
	// Renew renews a lease on the leader; 0 stands for a lease that is not there.
	Renew(ctx context.Context, id int64) (ttlSeconds int64, err error)
	// TimeToLive answers from the leader. A lease that is not there is ErrLeaseNotFound or a negative TTL.
	TimeToLive(ctx context.Context, id int64, keys bool) (*pb.LeaseTimeToLiveResponse, error)
	HashKV(ctx context.Context, rev int64) (*pb.HashKVResponse, error)
	DowngradeEnabled(ctx context.Context) (bool, error)
}

type tokenKey struct{}

// WithToken adds the token of the user on whose behalf another member is asked.
func WithToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// TokenFrom is the token that WithToken has added, or "".
func TokenFrom(ctx context.Context) string {
	token, _ := ctx.Value(tokenKey{}).(string)
	return token
}
