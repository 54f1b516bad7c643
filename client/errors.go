package client

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrNoAvailableEndpoints is returned by New without endpoints.
	ErrNoAvailableEndpoints = errors.New("etcdclient: no available endpoints")
	// ErrOldCluster is returned by New when RejectOldCluster is set and an
	// endpoint is too old.
	ErrOldCluster = errors.New("etcdclient: old cluster version")
	// ErrMutuallyExclusiveCfg is returned by New when both a token and a user
	// or password are configured.
	ErrMutuallyExclusiveCfg = errors.New("Username/Password and Token configurations are mutually exclusive")
	// ErrMixedEndpoints is returned when plaintext and secure endpoints are
	// configured together.
	ErrMixedEndpoints = errors.New("etcdclient: plaintext (http) and secure (https, unixs) endpoints cannot be mixed")
	// ErrWatcherClosed is returned by RequestProgress after Close.
	ErrWatcherClosed = errors.New("no stream found for context")
)

// ErrKeepAliveHalted is returned by KeepAlive once the lease client is closed.
type ErrKeepAliveHalted struct {
	Reason error
}

func (e ErrKeepAliveHalted) Error() string {
	const text = "etcdclient: leases keep alive halted"
	if e.Reason == nil {
		return text
	}
	return text + ": " + e.Reason.Error()
}

// Unwrap gives the reason.
func (e ErrKeepAliveHalted) Unwrap() error { return e.Reason }

// ContextError turns the error of an RPC into what callers compare with: the
// API's own error when its message is known, ctx.Err() when ctx ended the call,
// otherwise the gRPC status as it came.
func ContextError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	err = apiError(err)
	if _, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return err
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Canceled:
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// apiError maps a status whose message belongs to the API to its EtcdError.
// Two messages are missing from the table of rpctypes; their statuses are
// replaced by the package's own values so that == works for them too.
func apiError(err error) error {
	switch rpctypes.ErrorDesc(err) {
	case rpctypes.ErrorDesc(rpctypes.ErrGRPCRequestTooManyRequests):
		return rpctypes.ErrTooManyRequests
	case rpctypes.ErrorDesc(rpctypes.ErrGRPCTimeoutWaitAppliedIndex):
		return rpctypes.ErrTimeoutWaitAppliedIndex
	}
	return rpctypes.Error(err)
}

// IsConnCanceled says whether err comes from a call or connection that was
// closed on this side.
func IsConnCanceled(err error) bool {
	if err == nil {
		return false
	}
	if s, ok := status.FromError(err); ok {
		return s.Code() == codes.Canceled || s.Message() == "transport is closing"
	}
	return errors.Is(err, context.Canceled) ||
		strings.Contains(err.Error(), "grpc: the client connection is closing")
}

// errorCode gives the gRPC code of a status or an API error.
func errorCode(err error) codes.Code {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code()
	}
	return status.Code(err)
}

// isMessage says whether err carries exactly the message of the API error want.
func isMessage(err, want error) bool {
	return err != nil && rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(want)
}

// isHalt says whether a stream that failed with err is lost for good. Internal
// stands for a broken HTTP/2 frame of a dying server, which a reconnect cures.
func isHalt(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	if err == nil {
		return false
	}
	code := errorCode(err)
	return code != codes.Unavailable && code != codes.Internal && code != codes.OK
}
