package client

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// SnapshotResponse is a database file on its way from the server. Read Snapshot
// to io.EOF: the bytes of the database, then 32 bytes of SHA-256 over them. A
// stream that breaks ends with another error, never with io.EOF. Close it.
type SnapshotResponse struct {
	Header   *pb.ResponseHeader
	Snapshot io.ReadCloser
	// Version is the storage version the server announced, "" before 3.6.
	Version string
	// Size is the length of the whole stream in bytes as the first message
	// announced it, before the trailer.
	Size int64
}

// SnapshotWithVersion waits for the first message, which is also the last point
// at which the call is repeated.
func (m *maintenance) SnapshotWithVersion(ctx context.Context) (*SnapshotResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, first, err := m.openSnapshot(ctx)
	if err != nil {
		cancel()
		return nil, ContextError(ctx, err)
	}
	return &SnapshotResponse{
		Header: first.GetHeader(), Version: first.GetVersion(),
		Size: int64(first.GetRemainingBytes()) + int64(len(first.GetBlob())),
		Snapshot: &snapshotReader{
			ctx: ctx, cancel: cancel, stream: stream,
			rest: first.GetBlob(), last: first.GetRemainingBytes() == 0,
		},
	}, nil
}

func (m *maintenance) openSnapshot(ctx context.Context) (pb.Maintenance_SnapshotClient, *pb.SnapshotResponse, error) {
	for attempt := 0; ; attempt++ {
		_, round := m.c.tokenRound()
		stream, err := m.remote.Snapshot(ctx, &pb.SnapshotRequest{})
		if err == nil {
			var first *pb.SnapshotResponse
			if first, err = stream.Recv(); err == nil {
				return stream, first, nil
			}
			if errors.Is(err, io.EOF) {
				return nil, nil, io.ErrUnexpectedEOF
			}
		}
		if m.c == nil || attempt >= int(m.c.cfg.MaxUnaryRetries) {
			return nil, nil, err
		}
		endpoints := m.c.endpointCount()
		switch m.c.judge(ctx, "Maintenance/Snapshot", nil, err, endpoints) {
		case giveUp:
			return nil, nil, err
		case tryWithNewToken:
			if fetchErr := m.c.tokens.refresh(ctx, round); fetchErr != nil {
				return nil, nil, fetchErr
			}
		}
		if m.c.backoff(ctx, attempt+1, endpoints/2+1) != nil {
			return nil, nil, err
		}
	}
}

// snapshotReader turns the messages into bytes. It is for one goroutine.
type snapshotReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	stream pb.Maintenance_SnapshotClient
	rest   []byte
	last   bool // the server said that nothing remains after rest
	err    error
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		msg, err := r.stream.Recv()
		switch {
		case errors.Is(err, io.EOF) && !r.last:
			r.err = io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			r.err = io.EOF
		case err != nil:
			r.err = ContextError(r.ctx, err)
		default:
			r.rest, r.last = msg.GetBlob(), msg.GetRemainingBytes() == 0
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the stream, read to the end or not.
func (r *snapshotReader) Close() error {
	r.cancel()
	return nil
}
