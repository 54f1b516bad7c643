package v3rpc

import (
	"hash"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/cluster"
)

func memberID(id uint64) cluster.ID { return cluster.ID(id) }

// blobWriter cuts a database file into the messages of a snapshot stream.
type blobWriter struct {
	st      pb.Maintenance_SnapshotServer
	version string // of the file's schema
	left    uint64
	sum     hash.Hash
	buf     []byte
}

func (w *blobWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if w.buf == nil {
			w.buf = make([]byte, 0, snapshotBlob)
		}
		k := min(len(p), snapshotBlob-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
		if len(w.buf) == snapshotBlob {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (w *blobWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	w.sum.Write(w.buf)
	w.left -= min(w.left, uint64(len(w.buf)))
	err := w.st.Send(&pb.SnapshotResponse{RemainingBytes: w.left, Blob: w.buf, Version: w.version})
	w.buf = nil
	return err
}
