// Package lease is the table of leases and of the keys attached to them.
//
// It must never know the time: it holds how long a lease was granted for and how much of that was left when the leader
// last said so. When a lease ends is decided by the node, and arrives here as a revoke.
package lease

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// MaxTTL is the largest TTL a lease may have, in seconds.
const MaxTTL = 9_000_000_000

// Lease is one lease. It is never changed once it is in a table.
type Lease struct {
	ID               int64
	TTL              int64 // granted, in seconds
	RemainingSeconds int64 // at the last checkpoint; 0 if there was none since the last renewal
}

type attachment struct {
	lease int64
	key   string
}

// Table holds the leases. One goroutine, the apply queue, owns it; others read Views.
type Table struct {
	leases  *btree.BTreeG[Lease]
	keys    *btree.BTreeG[attachment]
	changed bool
	view    View
}

// View is the table at one moment; it never changes.
type View struct {
	leases *btree.BTreeG[Lease]
	keys   *btree.BTreeG[attachment]
}

func newTable() *Table {
	return &Table{
		leases: btree.NewBTreeGOptions(func(a, b Lease) bool { return a.ID < b.ID }, btree.Options{NoLocks: true}),
		keys: btree.NewBTreeGOptions(func(a, b attachment) bool {
			if c := cmp.Compare(a.lease, b.lease); c != 0 {
				return c < 0
			}
			return a.key < b.key
		}, btree.Options{NoLocks: true}),
		changed: true,
	}
}

// Open reads the table from the engine. Attachments are restored by Attach, from the keys themselves.
func Open(eng engine.Engine) (*Table, error) {
	t := newTable()
	var bad error
	err := eng.Scan(engine.Lease, nil, nil, func(k, v []byte) bool {
		var l Lease
		if l, bad = parse(v); bad == nil && (len(k) != 8 || int64(binary.BigEndian.Uint64(k)) != l.ID) {
			bad = errors.New("lease: record under another lease's key")
		}
		if bad != nil {
			bad = fmt.Errorf("lease record %x: %w", k, bad)
			return false
		}
		t.leases.Set(l)
		return true
	})
	if err == nil {
		err = bad
	}
	return t, err
}

// Get returns a lease.
func (t *Table) Get(id int64) (Lease, bool) { return t.leases.Get(Lease{ID: id}) }

// Put grants a lease or changes it.
func (t *Table) Put(b engine.Batch, l Lease) {
	t.changed = true
	t.leases.Set(l)
	b.Set(engine.Lease, key(l.ID), l.append(nil))
}

// Delete ends a lease. Keys that are still attached are forgotten.
func (t *Table) Delete(b engine.Batch, id int64) {
	for _, k := range t.View().Keys(id) {
		t.Detach(id, k)
	}
	t.changed = true // only now: the view above has seen the lease
	t.leases.Delete(Lease{ID: id})
	b.Delete(engine.Lease, key(id))
}

// Attach notes that key lives with the lease.
func (t *Table) Attach(id int64, key string) {
	if _, ok := t.Get(id); !ok {
		return
	}
	t.changed = true
	t.keys.Set(attachment{id, key})
}

// Detach takes the note back.
func (t *Table) Detach(id int64, key string) {
	t.changed = true
	t.keys.Delete(attachment{id, key})
}

// View returns the table as it is now.
func (t *Table) View() View {
	if t.changed {
		t.view = View{t.leases.Copy(), t.keys.Copy()}
		t.changed = false
	}
	return t.view
}

// Get returns a lease.
func (v View) Get(id int64) (Lease, bool) { return v.leases.Get(Lease{ID: id}) }

// Len is the number of leases.
func (v View) Len() int { return v.leases.Len() }

// Each calls fn for every lease by ascending ID until it returns false.
func (v View) Each(fn func(Lease) bool) { v.leases.Scan(fn) }

// Keys returns the keys attached to a lease, ascending.
func (v View) Keys(id int64) []string {
	var keys []string
	v.keys.Ascend(attachment{lease: id}, func(a attachment) bool {
		if a.lease != id {
			return false
		}
		keys = append(keys, a.key)
		return true
	})
	return keys
}

func key(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

// append encodes the lease as etcd's leasepb.Lease.
func (l Lease) append(b []byte) []byte {
	b = wire.AppendUint(b, 1, uint64(l.ID))
	b = wire.AppendUint(b, 2, uint64(l.TTL))
	return wire.AppendUint(b, 3, uint64(l.RemainingSeconds))
}

var errMalformed = errors.New("malformed lease")

func parse(b []byte) (l Lease, err error) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.VarintType {
			return l, errMalformed
		}
		v, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return l, errMalformed
		}
		b = b[n+m:]
		switch num {
		case 1:
			l.ID = int64(v)
		case 2:
			l.TTL = int64(v)
		case 3:
			l.RemainingSeconds = int64(v)
		}
	}
	return l, nil
}
