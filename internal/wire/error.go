package wire

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Error is an error that a client can recognise: by its message, which is contract, and by its gRPC code.
// Each exists once, as a variable below; API packages only format them.
type Error struct {
	status *status.Status
}

func newError(c codes.Code, msg string) *Error { return &Error{status.New(c, msg)} }

// Error returns the message as the client sees it.
func (e *Error) Error() string { return e.status.Message() }

// GRPCStatus lets gRPC send the error as it is.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// Code is the gRPC code.
func (e *Error) Code() codes.Code { return e.status.Code() }

// Malformed makes the answer to a body that is not valid protobuf, in the words of gRPC's own codec.
func Malformed() *Error { return errMalformedBody }

var errMalformedBody = newError(codes.Internal, "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data")

// The catalogue: v3-grpc.md section 4.
var (
	ErrEmptyKey                      = newError(codes.InvalidArgument, "etcdserver: key is not provided")
	ErrKeyNotFound                   = newError(codes.InvalidArgument, "etcdserver: key not found")
	ErrValueProvided                 = newError(codes.InvalidArgument, "etcdserver: value is provided")
	ErrLeaseProvided                 = newError(codes.InvalidArgument, "etcdserver: lease is provided")
	ErrTooManyOps                    = newError(codes.InvalidArgument, "etcdserver: too many operations in txn request")
	ErrDuplicateKey                  = newError(codes.InvalidArgument, "etcdserver: duplicate key given in txn request")
	ErrInvalidClientAPIVersion       = newError(codes.InvalidArgument, "etcdserver: invalid client api version")
	ErrInvalidSortOption             = newError(codes.InvalidArgument, "etcdserver: invalid sort option")
	ErrCompacted                     = newError(codes.OutOfRange, "etcdserver: mvcc: required revision has been compacted")
	ErrFutureRev                     = newError(codes.OutOfRange, "etcdserver: mvcc: required revision is a future revision")
	ErrNoSpace                       = newError(codes.ResourceExhausted, "etcdserver: mvcc: database space exceeded")
	ErrLeaseNotFound                 = newError(codes.NotFound, "etcdserver: requested lease not found")
	ErrLeaseExist                    = newError(codes.FailedPrecondition, "etcdserver: lease already exists")
	ErrLeaseTTLTooLarge              = newError(codes.OutOfRange, "etcdserver: too large lease TTL")
	ErrWatchCanceled                 = newError(codes.Canceled, "etcdserver: watch canceled")
	ErrMemberExist                   = newError(codes.FailedPrecondition, "etcdserver: member ID already exist")
	ErrPeerURLExist                  = newError(codes.FailedPrecondition, "etcdserver: Peer URLs already exists")
	ErrMemberNotEnoughStarted        = newError(codes.Unknown, "etcdserver: re-configuration failed due to not enough started members")
	ErrMemberBadURLs                 = newError(codes.InvalidArgument, "etcdserver: given member URLs are invalid")
	ErrMemberNotFound                = newError(codes.NotFound, "etcdserver: member not found")
	ErrMemberNotLearner              = newError(codes.FailedPrecondition, "etcdserver: can only promote a learner member")
	ErrLearnerNotReady               = newError(codes.FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader")
	ErrTooManyLearners               = newError(codes.FailedPrecondition, "etcdserver: too many learner members in cluster")
	ErrClusterIDMismatch             = newError(codes.FailedPrecondition, "etcdserver: cluster ID mismatch")
	ErrRequestTooLarge               = newError(codes.InvalidArgument, "etcdserver: request is too large")
	ErrTooManyRequests               = newError(codes.Unknown, "etcdserver: too many requests")
	ErrNoPasswordUser                = newError(codes.Unknown, "auth: authentication failed, password was given for no password user")
	ErrRootUserNotExist              = newError(codes.FailedPrecondition, "etcdserver: root user does not exist")
	ErrRootRoleNotExist              = newError(codes.FailedPrecondition, "etcdserver: root user does not have root role")
	ErrUserAlreadyExist              = newError(codes.FailedPrecondition, "etcdserver: user name already exists")
	ErrUserEmpty                     = newError(codes.InvalidArgument, "etcdserver: user name is empty")
	ErrUserNotFound                  = newError(codes.FailedPrecondition, "etcdserver: user name not found")
	ErrRoleAlreadyExist              = newError(codes.FailedPrecondition, "etcdserver: role name already exists")
	ErrRoleNotFound                  = newError(codes.FailedPrecondition, "etcdserver: role name not found")
	ErrRoleEmpty                     = newError(codes.InvalidArgument, "etcdserver: role name is empty")
	ErrAuthFailed                    = newError(codes.InvalidArgument, "etcdserver: authentication failed, invalid user ID or password")
	ErrPermissionNotGiven            = newError(codes.InvalidArgument, "etcdserver: permission not given")
	ErrPermissionDenied              = newError(codes.PermissionDenied, "etcdserver: permission denied")
	ErrRoleNotGranted                = newError(codes.FailedPrecondition, "etcdserver: role is not granted to the user")
	ErrPermissionNotGranted          = newError(codes.FailedPrecondition, "etcdserver: permission is not granted to the role")
	ErrAuthNotEnabled                = newError(codes.FailedPrecondition, "etcdserver: authentication is not enabled")
	ErrInvalidAuthToken              = newError(codes.Unauthenticated, "etcdserver: invalid auth token")
	ErrInvalidAuthMgmt               = newError(codes.InvalidArgument, "etcdserver: invalid auth management")
	ErrAuthOldRevision               = newError(codes.InvalidArgument, "etcdserver: revision of auth store is old")
	ErrNoLeader                      = newError(codes.Unavailable, "etcdserver: no leader")
	ErrNotLeader                     = newError(codes.FailedPrecondition, "etcdserver: not leader")
	ErrLeaderChanged                 = newError(codes.Unavailable, "etcdserver: leader changed")
	ErrNotCapable                    = newError(codes.FailedPrecondition, "etcdserver: not capable")
	ErrStopped                       = newError(codes.Unavailable, "etcdserver: server stopped")
	ErrTimeout                       = newError(codes.Unavailable, "etcdserver: request timed out")
	ErrTimeoutDueToLeaderFail        = newError(codes.Unavailable, "etcdserver: request timed out, possibly due to previous leader failure")
	ErrTimeoutDueToConnectionLost    = newError(codes.Unavailable, "etcdserver: request timed out, possibly due to connection lost")
	ErrTimeoutWaitAppliedIndex       = newError(codes.Unavailable, "etcdserver: request timed out, waiting for the applied index took too long")
	ErrTimeoutLeaderTransfer         = newError(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")
	ErrUnhealthy                     = newError(codes.Unavailable, "etcdserver: unhealthy cluster")
	ErrCorrupt                       = newError(codes.DataLoss, "etcdserver: corrupt cluster")
	ErrNotSupportedForLearner        = newError(codes.FailedPrecondition, "etcdserver: rpc not supported for learner")
	ErrBadLeaderTransferee           = newError(codes.FailedPrecondition, "etcdserver: bad leader transferee")
	ErrWrongDowngradeVersionFormat   = newError(codes.InvalidArgument, "etcdserver: wrong downgrade target version format")
	ErrInvalidDowngradeTargetVersion = newError(codes.InvalidArgument, "etcdserver: invalid downgrade target version")
	ErrClusterVersionUnavailable     = newError(codes.FailedPrecondition, "etcdserver: cluster version not found during downgrade")
	ErrDowngradeInProcess            = newError(codes.FailedPrecondition, "etcdserver: cluster has a downgrade job in progress")
	ErrNoInflightDowngrade           = newError(codes.FailedPrecondition, "etcdserver: no inflight downgrade job")
	ErrCanceled                      = newError(codes.Canceled, "etcdserver: request canceled")
	ErrDeadlineExceeded              = newError(codes.DeadlineExceeded, "etcdserver: context deadline exceeded")

	// Not in the table, but on the wire (section 4.2).
	ErrUnknownMethod   = newError(codes.Unknown, "etcdserver: unknown method")
	ErrNotPrimary      = newError(codes.Unknown, "not a primary lessor")
	ErrProposalDropped = newError(codes.Unknown, "raft proposal dropped")
	ErrTransferTimeout = newError(codes.Unknown, "etcdserver: request timed out, leader transfer took too long")
	ErrStreamSort      = newError(codes.Unimplemented, "RangeStream does not support custom sort orders")
	ErrStreamFilter    = newError(codes.Unimplemented, "RangeStream does not support revision filters")
)
