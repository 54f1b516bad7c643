package tree

import (
	"iter"
	"strings"

	"github.com/tidwall/btree"

	"github.com/cairn-kv/cairn/internal/engine"
)

// record is text that is kept beside the nodes, and that no path of a client leads to: who may do what. Changes take
// indexes as those of nodes do.
type record struct {
	path, value string
	dir         bool
}

type records = btree.BTreeG[record]

func newRecords() *records {
	return btree.NewBTreeGOptions(func(a, b record) bool { return a.path < b.path }, btree.Options{NoLocks: true})
}

func recordKey(path string) []byte { return append([]byte{recordRecord}, path...) }

func (r record) append(b []byte) []byte {
	if r.dir {
		return append(b, 'd')
	}
	return append(append(b, 'v'), r.value...)
}

func parseRecord(path string, b []byte) (record, error) {
	if len(b) == 0 || b[0] != 'd' && b[0] != 'v' {
		return record{}, errMalformed
	}
	return record{path: path, dir: b[0] == 'd', value: string(b[1:])}, nil
}

// SetRecord sets a record, if there is one or not as must says, and if it holds the text of the condition.
func (t *Tree) SetRecord(b engine.Batch, c Change, must *bool, if_ Condition) error {
	old, there := t.records.Get(record{path: c.Path})
	switch {
	case must != nil && *must != there || if_.Value != "" && !there:
		if there {
			return t.refuse(CodeExists, c.Path)
		}
		return t.refuse(CodeNotFound, c.Path)
	case if_.Value != "" && if_.Value != old.value:
		return t.refuse(CodeTestFailed, "["+if_.Value+" != "+old.value+"]")
	}
	r := record{path: c.Path, dir: c.Dir, value: c.Value}
	t.records.Set(r)
	b.Set(engine.Tree, recordKey(r.path), r.append(nil))
	t.recordsIndex = t.index + 1
	t.Bump(b)
	return nil
}

// DeleteRecord removes a record.
func (t *Tree) DeleteRecord(b engine.Batch, path string) error {
	if _, there := t.records.Delete(record{path: path}); !there {
		return t.refuse(CodeNotFound, path)
	}
	b.Delete(engine.Tree, recordKey(path))
	t.recordsIndex = t.index + 1
	t.Bump(b)
	return nil
}

// Record returns the text of a record; a directory has none.
func (v *View) Record(path string) (value string, ok bool) {
	r, ok := v.records.Get(record{path: path})
	return r.value, ok
}

// Records are those whose path begins with a prefix, in order.
func (v *View) Records(prefix string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		v.records.Ascend(record{path: prefix}, func(r record) bool {
			return strings.HasPrefix(r.path, prefix) && (r.dir || yield(r.path, r.value))
		})
	}
}
