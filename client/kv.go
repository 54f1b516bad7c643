package client

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The responses are the API's messages under the client's names; a pointer
// converts to the message and back.
type (
	CompactResponse pb.CompactionResponse
	PutResponse     pb.PutResponse
	GetResponse     pb.RangeResponse
	DeleteResponse  pb.DeleteRangeResponse
	TxnResponse     pb.TxnResponse
)

// KV reads and writes keys. Errors are those of ContextError; a write that ends
// with Unavailable or with its context may or may not have happened.
type KV interface {
	Put(ctx context.Context, key, val string, opts ...OpOption) (*PutResponse, error)
	// Get reads a key, or a range with WithPrefix, WithRange or WithFromKey. A
	// missing key is an empty result, not an error.
	Get(ctx context.Context, key string, opts ...OpOption) (*GetResponse, error)
	// GetStream reads like Get, in chunks. Stopping early needs a cancelled
	// ctx, which ends the stream and closes the channel.
	GetStream(ctx context.Context, key string, opts ...OpOption) (GetStreamChan, error)
	Delete(ctx context.Context, key string, opts ...OpOption) (*DeleteResponse, error)
	// Compact drops history before rev.
	Compact(ctx context.Context, rev int64, opts ...CompactOption) (*CompactResponse, error)
	// Do runs an operation made by OpGet, OpPut, OpDelete or OpTxn.
	Do(ctx context.Context, op Op) (OpResponse, error)
	// Txn begins a transaction.
	Txn(ctx context.Context) Txn
}

// OpResponse holds the response of Do: exactly one accessor is not nil.
type OpResponse struct {
	put *PutResponse
	get *GetResponse
	del *DeleteResponse
	txn *TxnResponse
}

func (r OpResponse) Put() *PutResponse    { return r.put }
func (r OpResponse) Get() *GetResponse    { return r.get }
func (r OpResponse) Del() *DeleteResponse { return r.del }
func (r OpResponse) Txn() *TxnResponse    { return r.txn }

func (r *PutResponse) OpResponse() OpResponse    { return OpResponse{put: r} }
func (r *GetResponse) OpResponse() OpResponse    { return OpResponse{get: r} }
func (r *DeleteResponse) OpResponse() OpResponse { return OpResponse{del: r} }
func (r *TxnResponse) OpResponse() OpResponse    { return OpResponse{txn: r} }

type kv struct {
	remote pb.KVClient
	opts   []grpc.CallOption
}

// NewKV makes the KV part of a client.
func NewKV(c *Client) KV { return &kv{remote: pb.NewKVClient(c.conn)} }

// NewKVFromKVClient makes a KV over a given remote, for proxies and tests.
func NewKVFromKVClient(remote pb.KVClient, _ *Client) KV { return &kv{remote: remote} }

func (k *kv) Put(ctx context.Context, key, val string, opts ...OpOption) (*PutResponse, error) {
	r, err := k.Do(ctx, OpPut(key, val, opts...))
	return r.put, err
}

func (k *kv) Get(ctx context.Context, key string, opts ...OpOption) (*GetResponse, error) {
	r, err := k.Do(ctx, OpGet(key, opts...))
	return r.get, err
}

func (k *kv) Delete(ctx context.Context, key string, opts ...OpOption) (*DeleteResponse, error) {
	r, err := k.Do(ctx, OpDelete(key, opts...))
	return r.del, err
}

func (k *kv) Compact(ctx context.Context, rev int64, opts ...CompactOption) (*CompactResponse, error) {
	req := &pb.CompactionRequest{Revision: rev}
	for _, o := range opts {
		o(req)
	}
	resp, err := k.remote.Compact(ctx, req, k.opts...)
	if err != nil {
		return nil, ContextError(ctx, err)
	}
	return (*CompactResponse)(resp), nil
}

func (k *kv) Do(ctx context.Context, op Op) (OpResponse, error) {
	var r OpResponse
	var err error
	switch op.kind {
	case opRange:
		if !op.IsSortOptionValid() {
			return r, rpctypes.ErrInvalidSortOption
		}
		var resp *pb.RangeResponse
		if resp, err = k.remote.Range(ctx, op.rangeRequest(), k.opts...); err == nil {
			r.get = (*GetResponse)(resp)
		}
	case opPut:
		var resp *pb.PutResponse
		if resp, err = k.remote.Put(ctx, op.putRequest(), k.opts...); err == nil {
			r.put = (*PutResponse)(resp)
		}
	case opDelete:
		var resp *pb.DeleteRangeResponse
		if resp, err = k.remote.DeleteRange(ctx, op.deleteRequest(), k.opts...); err == nil {
			r.del = (*DeleteResponse)(resp)
		}
	case opTxn:
		var resp *pb.TxnResponse
		if resp, err = k.remote.Txn(ctx, op.txnRequest(), k.opts...); err == nil {
			r.txn = (*TxnResponse)(resp)
		}
	default:
		panic("Unknown op")
	}
	return r, ContextError(ctx, err)
}
