package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Loss says what a power loss leaves of the data that was not synced. The
// zero Loss leaves nothing of it.
type Loss struct {
	// KeepPercent is how likely each sector of 512 bytes, and each directory
	// entry, is to be there although it was not synced.
	KeepPercent int
	// TornPercent is how likely a sector that was being written is to hold new
	// bytes up to some point and old bytes behind it. Nothing that was written
	// behind it in the file is there then.
	TornPercent int
}

// Crash returns the file system as it may be found after a power loss at this
// moment: everything synced, and by chance some of the rest. The same content
// and seed give the same result. m itself goes on unchanged, which is of use
// to end what still runs on it.
func (m *Memory) Crash(seed uint64, loss Loss) *Memory {
	defer m.begin()()
	c := crash{rng: rand.New(rand.NewPCG(seed, 0x6372617368)), loss: loss, done: make(map[*node]*node)}
	after := NewMemory()
	after.root = c.node(m.root)
	return after
}

type crash struct {
	rng  *rand.Rand
	loss Loss
	done map[*node]*node // a file with two names stays one file
}

func (c *crash) chance(percent int) bool {
	return percent > 0 && c.rng.IntN(100) < percent
}

func (c *crash) node(n *node) *node {
	if known := c.done[n]; known != nil {
		return known
	}
	out := &node{dir: n.dir, modified: n.modified}
	c.done[n] = out
	if n.dir {
		c.entries(n, out)
	} else {
		c.content(n, out)
	}
	out.sync()
	return out
}

// entries takes either the directory as it is now, or what was synced and some
// of the new entries. So an entry may come back after its removal, but a
// rename never loses both names.
func (c *crash) entries(n, out *node) {
	keep := n.children
	if !c.chance(c.loss.KeepPercent) {
		keep = maps.Clone(n.syncedChildren)
		if keep == nil {
			keep = make(map[string]*node)
		}
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			if _, synced := keep[name]; !synced && c.chance(c.loss.KeepPercent) {
				keep[name] = n.children[name]
			}
		}
	}
	out.children = make(map[string]*node, len(keep))
	for _, name := range slices.Sorted(maps.Keys(keep)) {
		out.children[name] = c.node(keep[name])
	}
}

func (c *crash) content(n, out *node) {
	// Start from what was synced.
	out.data = make([]byte, n.syncedSize)
	copy(out.data, n.data)
	dirty := slices.Sorted(maps.Keys(n.before))
	for _, s := range dirty {
		if at := s * sector; at < n.syncedSize {
			clear(out.data[at:min(at+sector, n.syncedSize)])
			copy(out.data[at:], n.before[s])
		}
	}
	// Add what made it to the disk.
	for _, s := range dirty {
		lo, hi := s*sector, min((s+1)*sector, len(n.data))
		if lo >= hi {
			continue
		}
		torn := c.chance(c.loss.TornPercent)
		if torn {
			hi = lo + c.rng.IntN(hi-lo+1)
		} else if !c.chance(c.loss.KeepPercent) {
			continue
		}
		if hi > len(out.data) {
			out.grow(hi)
		}
		copy(out.data[lo:hi], n.data[lo:hi])
		if torn {
			break
		}
	}
	if len(n.data) < n.syncedSize && c.chance(c.loss.KeepPercent) {
		out.data = out.data[:min(len(n.data), len(out.data))]
	}
}
