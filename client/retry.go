package client

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// What is tried again, and when:
//
//   - Calls wait for a connection, and gRPC itself repeats whatever never left
//     this process. That holds for writes too.
//   - A read that fails with code Unavailable is repeated. A Txn of reads only
//     counts as a read.
//   - A write is repeated only when the server says that it refused it before
//     proposing it (no leader). Any other failure of a write is surfaced: its
//     outcome is unknown.
//   - A refused auth token is replaced, and the call is repeated.
//   - A learner's refusal is repeated when there is another endpoint to pick.
//
// Rounds over the endpoints are spread by a doubling wait; attempts are bounded.

// repeatable lists the calls that may be executed twice without harm, by the
// last part of their method name. LeaseGrant is among them as etcd's client has
// it: a second grant leaves at worst a lease that expires by itself.
var repeatable = map[string]bool{
	"KV/Range":               true,
	"Lease/LeaseGrant":       true,
	"Lease/LeaseRevoke":      true,
	"Lease/LeaseTimeToLive":  true,
	"Lease/LeaseLeases":      true,
	"Cluster/MemberList":     true,
	"Maintenance/Alarm":      true,
	"Maintenance/Status":     true,
	"Maintenance/Hash":       true,
	"Maintenance/HashKV":     true,
	"Maintenance/MoveLeader": true,
	"Auth/AuthStatus":        true,
	"Auth/UserGet":           true,
	"Auth/UserList":          true,
	"Auth/RoleGet":           true,
	"Auth/RoleList":          true,
	"Maintenance/Snapshot":   true,
	"cairn.Limits/List":      true,
}

const methodAuthenticate = "Auth/Authenticate"

// shortMethod cuts the package from a full gRPC method name.
func shortMethod(full string) string {
	full = strings.TrimPrefix(full, "/")
	return strings.TrimPrefix(full, "etcdserverpb.")
}

// mayRepeat says whether a call that may already have been executed may be
// executed again.
func mayRepeat(method string, req any) bool {
	if repeatable[method] {
		return true
	}
	txn, ok := req.(*pb.TxnRequest)
	return ok && readOnly(txn)
}

func readOnly(txn *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{txn.Success, txn.Failure} {
		for _, op := range ops {
			if op.GetRequestRange() != nil {
				continue
			}
			if nested := op.GetRequestTxn(); nested == nil || !readOnly(nested) {
				return false
			}
		}
	}
	return true
}

// verdict is what to do after a failed attempt.
type verdict int

const (
	giveUp verdict = iota
	tryAgain
	tryWithNewToken
)

// judge decides on one failed attempt of a call. endpoints is their number.
func (c *Client) judge(ctx context.Context, method string, req any, err error, endpoints int) verdict {
	if ctx.Err() != nil {
		return giveUp
	}
	if c.tokens.refused(err) && method != methodAuthenticate {
		return tryWithNewToken
	}
	if isMessage(err, rpctypes.ErrGRPCAuthOldRevision) {
		return tryAgain // identity by certificate: nothing to refresh
	}
	if isMessage(err, rpctypes.ErrGRPCNotSupportedForLearner) && endpoints > 1 {
		return tryAgain
	}
	if isMessage(err, rpctypes.ErrGRPCNoLeader) {
		return tryAgain // refused before it was proposed
	}
	repeat := mayRepeat(method, req)
	switch status.Code(err) {
	case codes.Unavailable:
		if repeat {
			return tryAgain
		}
	case codes.Canceled, codes.DeadlineExceeded:
		// The caller's context still runs: a transport went away.
		if repeat {
			return tryAgain
		}
	}
	return giveUp
}

// unaryRetry is the interceptor of every unary call.
func (c *Client) unaryRetry(ctx context.Context, full string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	method := shortMethod(full)
	endpoints := c.endpointCount()
	quorum := endpoints/2 + 1
	var err error
	for attempt := range int(c.cfg.MaxUnaryRetries) {
		if waitErr := c.backoff(ctx, attempt, quorum); waitErr != nil {
			return err // the last failure says more than the expiry
		}
		callCtx, round := c.outgoing(ctx)
		err = invoke(callCtx, full, req, reply, cc, opts...)
		if err == nil {
			return nil
		}
		c.noteTransport(err)
		c.log.Debug("call failed", "method", full, "attempt", attempt, "error", err)
		switch c.judge(ctx, method, req, err, endpoints) {
		case giveUp:
			return err
		case tryWithNewToken:
			if fetchErr := c.tokens.refresh(ctx, round); fetchErr != nil {
				return fetchErr
			}
		}
	}
	return err
}

// backoff waits before an attempt that starts a new round over the endpoints.
func (c *Client) backoff(ctx context.Context, attempt, quorum int) error {
	if attempt == 0 || attempt%quorum != 0 {
		return nil
	}
	d := c.cfg.BackoffWaitBetween << min(attempt/quorum-1, 10)
	return sleep(ctx, jitter(min(d, max(maxBackoff, c.cfg.BackoffWaitBetween)), c.cfg.BackoffJitterFraction))
}

// streamOpen is the interceptor of every stream: it adds the metadata. Streams
// are repeated by their owners (watch, keep-alive, snapshot), who know how.
func (c *Client) streamOpen(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, full string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	callCtx, _ := c.outgoing(ctx)
	s, err := open(callCtx, desc, cc, full, opts...)
	if err != nil {
		c.noteTransport(err)
	}
	return s, err
}

// noteTransport remembers why connecting fails, from gRPC's message about a
// call that ended while waiting for a connection.
func (c *Client) noteTransport(err error) {
	const mark = "latest balancer error: "
	if _, cause, ok := strings.Cut(status.Convert(err).Message(), mark); ok {
		c.transportErr.Store(&cause)
	}
}

// TransportError is the last reason why a call ended while it waited for a
// connection, such as a refused connection; "" when there was none. Calls
// themselves return the bare context error, which programs compare with ==.
func (c *Client) TransportError() string {
	if p := c.transportErr.Load(); p != nil {
		return *p
	}
	return ""
}

// jitter spreads d evenly by the given share to both sides.
func jitter(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}

// sleep waits for d or for the end of ctx, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
