package machine

import (
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/tree"
	"github.com/cairn-kv/cairn/internal/wire"
)

// etcd's log has the nodes of clients under v2Prefix, and who may do what under v2Records; what is under /0 is its own.
const (
	v2Prefix  = "/1"
	v2Records = "/2"
)

// v2 gives a request of the v2 API its effect, in the tree and in its mirror (v2-http.md section 4).
func (m *Machine) v2(q *wire.V2Request, r *Result) {
	before := len(m.tree.Events())
	m.changeTree(q, r)
	m.reflect(m.tree.Events()[before:])
}

func (m *Machine) changeTree(q *wire.V2Request, r *Result) {
	if q.Path == MirrorRecord && q.Method == wire.V2Put {
		r.Err = m.setMirror(q.Val)
		return
	}
	if q.Method == wire.V2Sync {
		m.tree.Expire(m.batch, q.Time)
		return
	}
	if path := tree.Clean(q.Path); path == v2Records || strings.HasPrefix(path, v2Records+"/") {
		m.v2Record(q, path, r)
		return
	}
	rest, ok := strings.CutPrefix(q.Path, v2Prefix)
	if !ok || rest != "" && rest[0] != '/' {
		r.Err = status.Errorf(codes.InvalidArgument, "cairn: the path %q is not one of users", q.Path)
		return
	}
	path := tree.Clean(rest)
	m.tree.Begin(q.Time)
	c := tree.Change{Path: path, Dir: q.Dir, Value: q.Val, Expires: q.Expiration, Refresh: q.Refresh}
	if_ := tree.Condition{Value: q.PrevValue, Index: q.PrevIndex}
	conditional := if_ != tree.Condition{}
	switch {
	case q.Method == wire.V2Post:
		r.Event, r.Err = m.tree.Create(m.batch, c, true)
	case q.Method == wire.V2Delete && conditional:
		r.Event, r.Err = m.tree.CompareAndDelete(m.batch, path, if_)
	case q.Method == wire.V2Delete:
		r.Event, r.Err = m.tree.Delete(m.batch, path, q.Dir, q.Recursive)
	case q.Method != wire.V2Put:
		r.Err = status.Errorf(codes.Unimplemented, "cairn: no such v2 method: %q", q.Method)
	case q.PrevExist != nil && !*q.PrevExist:
		r.Event, r.Err = m.tree.Create(m.batch, c, false)
	case conditional:
		r.Event, r.Err = m.tree.CompareAndSwap(m.batch, c, if_)
	case q.PrevExist != nil:
		r.Event, r.Err = m.tree.Update(m.batch, c)
	default:
		r.Event, r.Err = m.tree.Set(m.batch, c)
	}
}

// v2Record changes who may do what (v2-http.md section 13).
func (m *Machine) v2Record(q *wire.V2Request, path string, r *Result) {
	switch q.Method {
	case wire.V2Put:
		r.Err = m.tree.SetRecord(m.batch, tree.Change{Path: path, Dir: q.Dir, Value: q.Val}, q.PrevExist, tree.Condition{Value: q.PrevValue})
	case wire.V2Delete:
		r.Err = m.tree.DeleteRecord(m.batch, path)
	default:
		r.Err = status.Errorf(codes.Unimplemented, "cairn: no such method for a record: %q", q.Method)
	}
}
