package ctl

import (
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/cairn-kv/cairn/client"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const kvFormats = simple | fields | asJSON | protobuf

// pair writes a key and its value for simple output.
func (t *text) pair(kv *mvccpb.KeyValue) {
	t.raw(kv.Key)
	t.raw(kv.Value)
}

// kv writes the block of one key for fields output.
func (t *text) kv(prefix string, kv *mvccpb.KeyValue) {
	t.quoted(prefix+"Key", string(kv.Key))
	t.field(prefix+"CreateRevision", kv.CreateRevision)
	t.field(prefix+"ModRevision", kv.ModRevision)
	t.field(prefix+"Version", kv.Version)
	t.quoted(prefix+"Value", string(kv.Value))
	t.leaseID(prefix+"Lease", kv.Lease)
}

// getView shows a range. valueOnly and countOnly are of simple output.
func getView(r *client.GetResponse, valueOnly, countOnly bool) view {
	resp := (*pb.RangeResponse)(r)
	return view{
		simple: func(t *text) {
			if countOnly {
				t.line("%d", resp.Count)
			}
			for _, kv := range resp.Kvs {
				if !valueOnly {
					t.raw(kv.Key)
				}
				t.raw(kv.Value)
			}
		},
		fields: func(t *text) {
			t.header(resp.Header)
			for _, kv := range resp.Kvs {
				t.kv("", kv)
			}
			t.field("More", resp.More)
			t.field("Count", resp.Count)
		},
		json:  resp,
		proto: resp,
	}
}

func putView(r *client.PutResponse) view {
	resp := (*pb.PutResponse)(r)
	return view{
		simple: func(t *text) {
			t.line("OK")
			if resp.PrevKv != nil {
				t.pair(resp.PrevKv)
			}
		},
		fields: func(t *text) {
			t.header(resp.Header)
			if resp.PrevKv != nil {
				t.kv("Prev", resp.PrevKv)
			}
		},
		json:  resp,
		proto: resp,
	}
}

func delView(r *client.DeleteResponse) view {
	resp := (*pb.DeleteRangeResponse)(r)
	return view{
		simple: func(t *text) {
			t.line("%d", resp.Deleted)
			for _, kv := range resp.PrevKvs {
				t.pair(kv)
			}
		},
		fields: func(t *text) {
			t.header(resp.Header)
			t.field("Deleted", resp.Deleted)
			for _, kv := range resp.PrevKvs {
				t.kv("Prev", kv)
			}
		},
		json:  resp,
		proto: resp,
	}
}

// txnJSON is a transaction's response as scripts know it: the kind of each
// response is a key inside "Response".
type txnJSON struct {
	Header    *pb.ResponseHeader `json:"header,omitempty"`
	Succeeded bool               `json:"succeeded,omitempty"`
	Responses []txnResponseJSON  `json:"responses,omitempty"`
}

type txnResponseJSON struct {
	Response struct {
		Range  *pb.RangeResponse       `json:"response_range,omitempty"`
		Put    *pb.PutResponse         `json:"response_put,omitempty"`
		Delete *pb.DeleteRangeResponse `json:"response_delete_range,omitempty"`
		Txn    *txnJSON                `json:"response_txn,omitempty"`
	}
}

func newTxnJSON(resp *pb.TxnResponse) *txnJSON {
	if resp == nil {
		return nil
	}
	j := &txnJSON{Header: resp.Header, Succeeded: resp.Succeeded}
	for _, r := range resp.Responses {
		var one txnResponseJSON
		one.Response.Range = r.GetResponseRange()
		one.Response.Put = r.GetResponsePut()
		one.Response.Delete = r.GetResponseDeleteRange()
		one.Response.Txn = newTxnJSON(r.GetResponseTxn())
		j.Responses = append(j.Responses, one)
	}
	return j
}

func txnView(r *client.TxnResponse) view {
	resp := (*pb.TxnResponse)(r)
	var inner []view
	for _, op := range resp.Responses {
		switch {
		case op.GetResponseRange() != nil:
			inner = append(inner, getView((*client.GetResponse)(op.GetResponseRange()), false, false))
		case op.GetResponsePut() != nil:
			inner = append(inner, putView((*client.PutResponse)(op.GetResponsePut())))
		case op.GetResponseDeleteRange() != nil:
			inner = append(inner, delView((*client.DeleteResponse)(op.GetResponseDeleteRange())))
		case op.GetResponseTxn() != nil:
			inner = append(inner, txnView((*client.TxnResponse)(op.GetResponseTxn())))
		}
	}
	return view{
		simple: func(t *text) {
			if resp.Succeeded {
				t.line("SUCCESS")
			} else {
				t.line("FAILURE")
			}
			for _, v := range inner {
				t.line("")
				v.simple(t)
			}
		},
		fields: func(t *text) {
			t.header(resp.Header)
			t.field("Succeeded", resp.Succeeded)
			for _, v := range inner {
				v.fields(t)
			}
		},
		json:  newTxnJSON(resp),
		proto: resp,
	}
}

func watchView(r *client.WatchResponse) view {
	return view{
		simple: func(t *text) {
			for _, ev := range r.Events {
				t.line("%s", ev.Type)
				if ev.PrevKv != nil {
					t.pair(ev.PrevKv)
				}
				t.pair(ev.Kv)
			}
		},
		fields: func(t *text) {
			t.header(r.Header)
			for _, ev := range r.Events {
				t.field("Type", ev.Type)
				if ev.PrevKv != nil {
					t.kv("Prev", ev.PrevKv)
				}
				t.kv("", ev.Kv)
			}
		},
		json: r,
		proto: &pb.WatchResponse{
			Header: r.Header, Events: r.Events, CompactRevision: r.CompactRevision,
			Canceled: r.Canceled, Created: r.Created,
		},
	}
}
