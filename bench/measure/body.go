package measure

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

const valueSize = 256

// appendKey makes keys of one length, so that a body can be given another key in place.
func appendKey(b []byte, prefix string, n int) []byte { return fmt.Appendf(b, "%s/%012d", prefix, n) }

func key(prefix string, n int) []byte { return appendKey(nil, prefix, n) }

// under is the range of all keys with the prefix.
func under(prefix string) (from, to []byte) { return []byte(prefix + "/"), []byte(prefix + "0") }

func body(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // the messages of this package can be marshalled
	}
	return b
}

func rangeBody(key []byte) []byte { return body(&pb.RangeRequest{Key: key}) }

// newRand gives each client a sequence of its own, the same in each run.
func newRand(client int) *rand.Rand { return rand.New(rand.NewPCG(uint64(client), 1)) }

// fill makes a value that cannot be compressed.
func fill(b []byte, r *rand.Rand) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, r.Uint64())
		b = b[8:]
	}
}

func randomValue(r *rand.Rand) []byte {
	b := make([]byte, valueSize)
	fill(b, r)
	return b
}

// putBody is a put whose key, from 2 on, and value, at the end, are changed in place between two calls.
type putBody struct {
	b      []byte
	prefix string
}

func newPutBody(prefix string) *putBody {
	return &putBody{body(&pb.PutRequest{Key: key(prefix, 0), Value: make([]byte, valueSize)}), prefix}
}

func (p *putBody) set(n int, r *rand.Rand) []byte {
	appendKey(p.b[:2], p.prefix, n)
	fill(p.b[len(p.b)-valueSize:], r)
	return p.b
}

// txnOf makes a txn of puts.
func txnOf(keys [][]byte, r *rand.Rand) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for _, k := range keys {
		t.Success = append(t.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: k, Value: randomValue(r)}}})
	}
	return t
}
