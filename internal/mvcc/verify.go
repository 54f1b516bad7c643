package mvcc

import (
	"bytes"
	"fmt"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Verified is what Verify has found.
type Verified struct {
	Records, Tombstones, Keys int // Keys are those alive
	Rev, CompactRev           int64
	Leased                    map[int64]int // live keys of each lease
}

// chain is what the records of one key have come to.
type chain struct {
	create, version int64
	lease           int64
	live            bool
}

// Verify reads every record and checks that each follows from the one before it of its key. It hands each fault to fault
// and goes on; an error says that reading itself has failed.
func Verify(eng engine.Engine, fault func(error)) (*Verified, error) {
	v := &Verified{Rev: 1, CompactRev: -1, Leased: map[int64]int{}}
	for _, m := range [][]byte{metaFinishedCompact, metaScheduledCompact} {
		b, ok, err := eng.Get(engine.Meta, m)
		if err != nil {
			return v, err
		}
		if !ok {
			continue
		}
		r, _, err := wire.ParseRevKey(b)
		if err != nil {
			fault(fmt.Errorf("meta %s: %w", m, err))
			continue
		}
		v.CompactRev = max(v.CompactRev, r.Main)
	}
	chains := map[string]chain{}
	last := []byte(nil)
	err := eng.Scan(engine.Key, nil, nil, func(k, val []byte) bool {
		if bytes.Compare(k, last) <= 0 && last != nil {
			fault(fmt.Errorf("record %x does not follow %x", k, last))
		}
		last = append(last[:0], k...)
		rev, dead, err := wire.ParseRevKey(k)
		if err != nil {
			fault(fmt.Errorf("record %x: %w", k, err))
			return true
		}
		v.Records++
		v.Rev = max(v.Rev, rev.Main)
		if len(val) == 0 { // etcdutl leaves one to raise the revision
			return true
		}
		kv, err := wire.ParseKV(val)
		if err != nil {
			fault(fmt.Errorf("record at revision %d.%d: %w", rev.Main, rev.Sub, err))
			return true
		}
		c := chains[kv.Key()]
		if dead {
			v.Tombstones++
			if !c.live && rev.Main > v.CompactRev {
				fault(fmt.Errorf("key %q is deleted at revision %d.%d, but is not there before", kv.Key(), rev.Main, rev.Sub))
			}
			c = chain{}
		} else {
			f := kv.Fields()
			switch {
			case f.ModRevision != rev.Main:
				fault(fmt.Errorf("record at revision %d.%d says that its revision is %d", rev.Main, rev.Sub, f.ModRevision))
			case c.live && (f.CreateRevision != c.create || f.Version != c.version+1) && rev.Main > v.CompactRev:
				fault(fmt.Errorf("key %q at revision %d.%d has version %d, created at %d; before it were version %d and %d",
					f.Key, rev.Main, rev.Sub, f.Version, f.CreateRevision, c.version, c.create))
			case !c.live && f.Version == 1 && f.CreateRevision != rev.Main:
				fault(fmt.Errorf("key %q at revision %d.%d is new, but says that it was created at %d", f.Key, rev.Main, rev.Sub, f.CreateRevision))
			case !c.live && f.Version != 1 && rev.Main > v.CompactRev && f.CreateRevision > v.CompactRev:
				fault(fmt.Errorf("key %q at revision %d.%d has version %d, but no earlier ones are there", f.Key, rev.Main, rev.Sub, f.Version))
			}
			c = chain{f.CreateRevision, f.Version, f.LeaseID, true}
		}
		chains[string([]byte(kv.Key()))] = c
		return true
	})
	for _, c := range chains { // only counts: the order does not matter
		if c.live {
			v.Keys++
			if c.lease != 0 {
				v.Leased[c.lease]++
			}
		}
	}
	return v, err
}
