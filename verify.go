package cairn

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/pebble"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/mvcc"
	"github.com/cairn-kv/cairn/internal/vfs"
	"github.com/cairn-kv/cairn/internal/wal"
	"github.com/cairn-kv/cairn/internal/wire"
)

// ErrUnsound is what Verify returns when it has named faults.
var ErrUnsound = errors.New("cairn: the data directory is not sound")

const mostFaults = 100 // named; the rest are counted

// Verify reads everything in the data directory of a member that does not run, and checks it: every record of the log with
// its checksum, every block of the database with its own, that the records of each key follow from each other, and that
// log and database fit together. It changes nothing. What it finds goes to w, line by line.
func Verify(w io.Writer, dataDir, walDir string) error {
	v := &verifier{w: w, fs: vfs.OS(), dir: filepath.Join(dataDir, "member")}
	if walDir == "" {
		walDir = filepath.Join(v.dir, "wal")
	}
	if err := v.log(walDir); err != nil {
		v.fault("%v", err)
	}
	if err := v.database(); err != nil {
		v.fault("%v", err)
	}
	if v.faults > 0 {
		v.say("%d faults", v.faults)
		return ErrUnsound
	}
	v.say("sound")
	return nil
}

type verifier struct {
	w      io.Writer
	fs     vfs.FS
	dir    string
	faults int
	report *wal.Report // nil if the log cannot be read
}

func (v *verifier) say(format string, args ...any) { fmt.Fprintf(v.w, format+"\n", args...) }

func (v *verifier) fault(format string, args ...any) {
	if v.faults++; v.faults <= mostFaults {
		v.say("FAULT "+format, args...)
	}
}

func (v *verifier) log(dir string) error {
	report, err := wal.Verify(v.fs, dir)
	if err != nil {
		return err
	}
	v.report = report
	v.say("log       %s: %d segments, %d records, entries %d to %d, committed %d, term %d", dir, len(report.Segments), report.Records,
		report.First, report.Last, report.HardState.GetCommit(), report.HardState.GetTerm())
	if report.Torn != nil {
		v.say("          its end is torn, as a crash leaves it; a start repairs that: %v", report.Torn)
	}
	return wal.Read(v.fs, dir, func(r *wal.Record) error {
		if r.Type != wal.TypeEntry {
			return nil
		}
		e, err := r.Entry()
		if err != nil {
			return err
		}
		if err := checkEntry(e); err != nil {
			v.fault("%s at offset %d: entry %d: %v", r.File, r.Offset, e.GetIndex(), err)
		}
		return nil
	})
}

func checkEntry(e *raftpb.Entry) error {
	switch {
	case len(e.GetData()) == 0:
		return nil
	case e.GetType() == raftpb.EntryNormal:
		_, err := wire.ParseCommand(e.GetData())
		return err
	case e.GetType() == raftpb.EntryConfChange:
		return proto.Unmarshal(e.GetData(), &raftpb.ConfChange{})
	}
	return fmt.Errorf("entries of type %v are not known", e.GetType())
}

func (v *verifier) database() error {
	st := &stores{fs: v.fs, dir: v.dir}
	name, err := st.current()
	if err != nil {
		return err
	}
	if v.report != nil {
		if start := newest(v.report); start > 0 && st.exists(storeName(start)) {
			name = storeName(start)
		}
	}
	if !st.exists(name) {
		return fmt.Errorf("there is no database: %s", st.path(name))
	}
	eng, err := pebble.Open(v.fs, st.path(name), pebble.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer eng.Close()
	for _, s := range engine.Spaces {
		if s == engine.Key {
			continue // Verify reads it
		}
		if err := eng.Scan(s, nil, nil, func(_, _ []byte) bool { return true }); err != nil {
			return fmt.Errorf("%s, space %s: %w", st.path(name), s.Bucket(), err)
		}
	}
	kv, err := mvcc.Verify(eng, func(err error) { v.fault("%s: %v", st.path(name), err) })
	if err != nil {
		return fmt.Errorf("%s: %w", st.path(name), err)
	}
	m, err := machine.Open(machine.Config{}, eng)
	if err != nil {
		return fmt.Errorf("%s: %w", st.path(name), err)
	}
	view := m.View()
	if view.KV.Rev() < kv.Rev || view.KV.Keys() != kv.Keys {
		v.fault("%s: the index has %d keys at revision %d, the records make %d at %d", st.path(name), view.KV.Keys(), view.KV.Rev(), kv.Keys, kv.Rev)
	}
	for id, n := range kv.Leased {
		if _, ok := view.Leases.Get(id); !ok {
			v.fault("%s: %d keys have the lease %x, which is not there", st.path(name), n, uint64(id))
		}
	}
	hash, err := hashOf(eng, view)
	if err != nil {
		return err
	}
	v.say("database  %s: applied %d, revision %d, compacted %d, %d records, %d keys, %d leases, hash %d", st.path(name), view.Applied,
		view.KV.Rev(), kv.CompactRev, kv.Records, kv.Keys, view.Leases.Len(), hash)
	for _, member := range view.Cluster.Members() {
		v.say("member    %s %s %v", member.ID, member.Name, member.PeerURLs)
	}
	for _, a := range view.Alarms {
		v.say("alarm     %v of member %s", a.Type, a.Member)
	}
	v.together(st.path(name), view.Applied)
	return nil
}

// newest is the index of the mark that a start from the log begins at.
func newest(r *wal.Report) (index uint64) {
	for _, m := range r.Marks {
		if m.Index <= r.HardState.GetCommit() {
			index = max(index, m.Index)
		}
	}
	return index
}

// together checks that the log leads on from the database.
func (v *verifier) together(db string, applied uint64) {
	if v.report == nil {
		return
	}
	if start := newest(v.report); applied < start {
		v.fault("%s is at index %d, but the log begins behind %d: entries between are lost", db, applied, start)
	}
	if last := max(v.report.Last, newest(v.report)); applied > last {
		v.fault("%s is at index %d, but the log ends at %d: entries were lost", db, applied, last)
	}
}

func hashOf(eng engine.Engine, view *machine.View) (uint32, error) {
	records := eng.View()
	defer records.Release()
	return view.KV.HashKV(records, view.KV.Rev(), view.KV.CompactRev())
}
