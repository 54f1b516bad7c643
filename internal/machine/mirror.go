package machine

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// The mirror shows the keys of the v2 tree under a prefix of the v3 keyspace: a change of the tree changes both in the same
// entry. Nothing but the tree writes below the prefix. Which prefix it is is part of the state, so that all members agree.

// MirrorRecord is the record that holds the prefix, and what a request has to set that changes it.
const MirrorRecord = "/3/mirror"

func mirrorRange(prefix string) wire.Range { return wire.Range{Lo: prefix + "/", Hi: prefix + "0"} }

func errMirrored(prefix string) error {
	return status.Errorf(codes.PermissionDenied, "cairn: keys below %q mirror those of the v2 API and are changed through it alone", prefix+"/")
}

func openMirror(v *tree.View) string {
	prefix, _ := v.Record(MirrorRecord)
	return prefix
}

// setMirror moves the mirror to another prefix, or ends it with none.
func (m *Machine) setMirror(prefix string) error {
	if prefix == m.mirror {
		return nil
	}
	if prefix != "" {
		taken := m.mirror != "" && (strings.HasPrefix(prefix+"/", m.mirror+"/") || strings.HasPrefix(m.mirror+"/", prefix+"/"))
		m.kv.Peek().Each(mirrorRange(prefix), func(wire.KV) bool {
			taken = true
			return false
		})
		if taken {
			return status.Errorf(codes.FailedPrecondition, "cairn: the v2 keys cannot be mirrored below %q: there are keys already", prefix+"/")
		}
	}
	if err := m.tree.SetRecord(m.batch, tree.Change{Path: MirrorRecord, Value: prefix}, nil, tree.Condition{}); err != nil {
		return err
	}
	if m.mirror != "" {
		m.kv.Delete(m.batch, mirrorRange(m.mirror), nil)
	}
	m.mirror = prefix
	if prefix != "" {
		m.tree.View().All(func(n *tree.Node) bool {
			m.reflectNode(n)
			return true
		})
	}
	return nil
}

// reflect repeats events of the tree in the mirror.
func (m *Machine) reflect(events []*tree.Event) {
	if m.mirror == "" {
		return
	}
	for _, e := range events {
		switch {
		case e.Action == tree.Internal || e.Refresh:
		case e.Action.Removes():
			path := m.mirror + e.Node.Path
			if e.Node.Dir {
				m.kv.Delete(m.batch, mirrorRange(path), nil)
			} else {
				m.kv.Delete(m.batch, wire.One(path), nil)
			}
		default:
			m.reflectNode(e.Node)
		}
	}
}

// reflectNode puts a key. The mirror has no directories: one that takes the place of a key takes the key away.
func (m *Machine) reflectNode(n *tree.Node) {
	if n.Dir {
		m.kv.Delete(m.batch, wire.One(m.mirror+n.Path), nil)
	} else {
		m.kv.Put(m.batch, []byte(m.mirror+n.Path), []byte(n.Value), 0)
	}
}

// mayPut refuses a key in the mirror.
func (m *Machine) mayPut(key []byte) error {
	if m.mirror != "" && mirrorRange(m.mirror).Contains(wire.BytesString(key)) {
		return errMirrored(m.mirror)
	}
	return nil
}

// mayDelete refuses a range that reaches into the mirror, whether there is a key or not.
func (m *Machine) mayDelete(d *wire.DeleteRequest) error {
	if m.mirror == "" {
		return nil
	}
	if wire.ParseRange(d.Key, d.End).Overlaps(mirrorRange(m.mirror)) {
		return errMirrored(m.mirror)
	}
	return nil
}
