package client

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// RangeStreamResponse is one chunk of GetStream. A chunk with Err has no data
// and is the last one. Header, More and Count are set on the last data chunk.
type RangeStreamResponse struct {
	*pb.RangeResponse
	err error
}

// Err is why the stream ended early, nil otherwise.
func (r RangeStreamResponse) Err() error { return r.err }

// GetStreamChan delivers the chunks in key order and is then closed.
type GetStreamChan <-chan RangeStreamResponse

func (k *kv) GetStream(ctx context.Context, key string, opts ...OpOption) (GetStreamChan, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := k.remote.RangeStream(ctx, OpGet(key, opts...).rangeRequest(), k.opts...)
	if err != nil {
		cancel()
		return nil, ContextError(ctx, err)
	}
	out := make(chan RangeStreamResponse, 1)
	go func() { // ends with the stream or with ctx
		defer cancel()
		defer close(out)
		for {
			msg, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			r := RangeStreamResponse{RangeResponse: msg.GetRangeResponse(), err: ContextError(ctx, err)}
			if err == nil && r.RangeResponse == nil {
				continue
			}
			select {
			case out <- r:
			case <-ctx.Done():
				select { // a reader that still listens learns the reason
				case out <- RangeStreamResponse{err: ctx.Err()}:
				default:
				}
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return out, nil
}

// GetStreamToGetResponse puts the chunks of a stream together, or returns the
// error that ended it.
func GetStreamToGetResponse(chunks GetStreamChan) (*GetResponse, error) {
	whole := &pb.RangeResponse{}
	for c := range chunks {
		if c.err != nil {
			return nil, c.err
		}
		whole.Kvs = append(whole.Kvs, c.Kvs...)
		if c.Header != nil {
			whole.Header, whole.More, whole.Count = c.Header, c.More, c.Count
		}
	}
	if whole.Header == nil {
		// The last chunk carries the header: without one the answer is cut.
		return nil, io.ErrUnexpectedEOF
	}
	return (*GetResponse)(whole), nil
}
