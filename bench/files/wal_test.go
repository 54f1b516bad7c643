package files

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

func walDir(dir string) string { return filepath.Join(dir, "data", "member", "wal") }

// newestMark is the snapshot record that etcd would start from.
func newestMark(t *testing.T, dir string) *walpb.Snapshot {
	t.Helper()
	marks, err := wal.ValidSnapshotEntries(zap.NewNop(), walDir(dir))
	if err != nil || len(marks) == 0 {
		t.Fatalf("%d snapshot records: %v", len(marks), err)
	}
	return marks[len(marks)-1]
}

type walContent struct {
	metadata *pb.Metadata
	state    *raftpb.HardState
	entries  []*raftpb.Entry
}

// readAll reads a log from a mark on with etcd's package, and gives it open for writing if that is asked for.
func readAll(t *testing.T, dir string, from *walpb.Snapshot, write bool) (c walContent, w *wal.WAL) {
	t.Helper()
	open := wal.OpenForRead
	if write {
		open = wal.Open
	}
	w, err := open(zap.NewNop(), walDir(dir), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	metadata, state, entries, err := w.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	c = walContent{&pb.Metadata{}, state, entries}
	if err := proto.Unmarshal(metadata, c.metadata); err != nil {
		t.Fatal(err)
	}
	next := from.GetIndex()
	for _, e := range entries {
		if next++; e.GetIndex() != next {
			t.Fatalf("entry %d in place of %d", e.GetIndex(), next)
		}
	}
	if n := state.GetCommit(); n > next || n < from.GetIndex() {
		t.Fatalf("committed up to %d in entries from %d to %d", n, from.GetIndex(), next)
	}
	return c, w
}

// commands decodes the entries that are commands.
func commands(t *testing.T, entries []*raftpb.Entry) (cs []*pb.InternalRaftRequest) {
	t.Helper()
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal || len(e.Data) == 0 {
			continue
		}
		r := &pb.InternalRaftRequest{}
		if err := proto.Unmarshal(e.Data, r); err != nil {
			t.Fatalf("entry %d: %v", e.GetIndex(), err)
		}
		if n := len(r.ProtoReflect().GetUnknown()); n > 0 {
			t.Fatalf("entry %d has %d bytes that etcd does not know: %v", e.GetIndex(), n, r)
		}
		cs = append(cs, r)
	}
	return cs
}

// TestEtcdReadsTheLog: after a kill, etcd's package reads the log, and each entry is the request that was sent, in order.
func TestEtcdReadsTheLog(t *testing.T) {
	s, c := start(t, cairnProgram, t.TempDir())
	log := fill(t, c)
	header, err := pb.NewKVClient(c).Range(t.Context(), &pb.RangeRequest{Key: []byte("key/000")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	dir := copied(t, s)
	if _, err := wal.Verify(zap.NewNop(), walDir(dir), newestMark(t, dir)); err != nil {
		t.Error(err)
	}
	content, _ := readAll(t, dir, &walpb.Snapshot{}, false)
	if m := content.metadata; m.GetNodeID() != header.Header.MemberId || m.GetClusterID() != header.Header.ClusterId {
		t.Errorf("metadata %v, header %v", m, header.Header)
	}
	var got sent
	for _, r := range commands(t, content.entries) {
		switch {
		case r.Put != nil, r.Txn != nil, r.DeleteRange != nil, r.Compaction != nil, r.LeaseGrant != nil, r.LeaseRevoke != nil:
			if r.Header.GetID() == 0 {
				t.Errorf("no request ID in %v", r)
			}
			r.Header = nil
			got = append(got, r)
		}
	}
	if len(got) != len(log) {
		t.Fatalf("%d requests in the log, %d sent", len(got), len(log))
	}
	for i := range log {
		if !proto.Equal(got[i], log[i]) {
			t.Fatalf("request %d\nsent:   %v\nlogged: %v", i, log[i], got[i])
		}
	}
}

// TestEtcdReadsALongLog: several segments, of which the first may be gone.
func TestEtcdReadsALongLog(t *testing.T) {
	s, c := start(t, cairnProgram, t.TempDir())
	const puts = 200
	for i := range puts {
		if _, err := pb.NewKVClient(c).Put(t.Context(), &pb.PutRequest{Key: fmt.Appendf(nil, "%d", i), Value: bytes.Repeat([]byte{byte(i)}, 1_000_000)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	dir := copied(t, s)
	segments, err := filepath.Glob(filepath.Join(walDir(dir), "*.wal"))
	if err != nil || len(segments) < 2 {
		t.Errorf("segments %q %v", segments, err)
	}
	mark := newestMark(t, dir)
	if _, err := wal.Verify(zap.NewNop(), walDir(dir), mark); err != nil {
		t.Error(err)
	}
	content, _ := readAll(t, dir, mark, false)
	cs := commands(t, content.entries)
	t.Logf("%d segments, a mark at %d, %d commands behind it", len(segments), mark.GetIndex(), len(cs))
	if mark.GetIndex() == 0 && len(cs) < puts {
		t.Errorf("%d commands", len(cs))
	}
	for i, r := range cs {
		if p := r.Put; p != nil && i == len(cs)-1 && string(p.Key) != fmt.Sprint(puts-1) {
			t.Errorf("the last put is of %q", p.Key)
		}
	}
}

// TestCairnGoesOnFromEtcdsLog: etcd's package appends to cairn's log, and cairn reads what it wrote.
func TestCairnGoesOnFromEtcdsLog(t *testing.T) {
	s, c := start(t, cairnProgram, t.TempDir())
	fill(t, c)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	dir := copied(t, s)
	content, w := readAll(t, dir, newestMark(t, dir), true)
	last := content.entries[len(content.entries)-1]
	var entries []*raftpb.Entry
	for i := range uint64(10) {
		data, err := proto.Marshal(&pb.InternalRaftRequest{
			Header: &pb.RequestHeader{ID: 1<<60 + i},
			Put:    &pb.PutRequest{Key: fmt.Appendf(nil, "etcd/%d", i), Value: []byte("written by etcd")},
		})
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, &raftpb.Entry{Term: proto.Uint64(last.GetTerm()), Index: proto.Uint64(last.GetIndex() + 1 + i),
			Type: raftpb.EntryNormal.Enum(), Data: data})
	}
	state := proto.Clone(content.state).(*raftpb.HardState)
	state.Commit = proto.Uint64(last.GetIndex() + uint64(len(entries)))
	if err := w.Save(state, entries); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, c = start(t, cairnProgram, dir)
	r, err := pb.NewKVClient(c).Range(t.Context(), &pb.RangeRequest{Key: []byte("etcd/"), RangeEnd: []byte("etcd0")})
	if err != nil || r.Count != int64(len(entries)) {
		t.Fatalf("%v %v", r, err)
	}
	all, err := pb.NewKVClient(c).Range(t.Context(), &pb.RangeRequest{Key: []byte("key/"), RangeEnd: []byte("key0"), CountOnly: true})
	if err != nil || all.Count == 0 {
		t.Errorf("%v %v", all, err)
	}
}
