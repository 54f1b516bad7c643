package limits

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/engine"
)

// recordPrefix is what the keys of rules begin with in the Cluster space; the kind, a slash and the name follow. Etcd and its
// tools pass over them.
const recordPrefix = "cairnLimit/"

func recordKey(t *Target) []byte {
	return append([]byte(recordPrefix+string(t.Kind)+"/"), t.Name...)
}

// Table is the state. One goroutine, the apply queue, owns it.
type Table struct {
	set *Set // nil without rules
}

// Open reads the table from the engine.
func Open(eng engine.Engine) (*Table, error) {
	t := &Table{}
	var rules []*Rule
	var bad error
	end := (&Target{Name: []byte(recordPrefix)}).Range().Hi
	err := eng.Scan(engine.Cluster, []byte(recordPrefix), []byte(end), func(k, v []byte) bool {
		r, err := ParseRule(v)
		if err == nil && !bytes.Equal(recordKey(&r.Target), k) {
			err = fmt.Errorf("it is that of %v", &r.Target)
		}
		if err != nil {
			bad = fmt.Errorf("limits: record %q: %w", k, err)
			return false
		}
		rules = append(rules, r)
		return true
	})
	if bad == nil {
		bad = err
	}
	if bad != nil {
		return nil, bad
	}
	if err := t.replace(rules); err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	return t, nil
}

// View is the rules as they are now, nil if there are none.
func (t *Table) View() *Set { return t.set }

// Set sets the rule of a target, in the place of the one before.
func (t *Table) Set(b engine.Batch, r *Rule) error {
	if err := t.replace(append(t.others(&r.Target), r)); err != nil {
		return status.Errorf(codes.FailedPrecondition, "cairn: %v", err)
	}
	b.Set(engine.Cluster, recordKey(&r.Target), r.Append(nil))
	return nil
}

// Remove removes the rule of a target.
func (t *Table) Remove(b engine.Batch, x *Target) error {
	rest := t.others(x)
	if len(rest) == t.set.Len() {
		return status.Errorf(codes.NotFound, "cairn: there is no limit for %v", x)
	}
	if err := t.replace(rest); err != nil {
		return status.Errorf(codes.Internal, "cairn: %v", err) // with fewer rules nothing is in the way
	}
	b.Delete(engine.Cluster, recordKey(x))
	return nil
}

// others are the rules of all other targets.
func (t *Table) others(x *Target) []*Rule {
	return slices.DeleteFunc(slices.Collect(t.set.All()), func(r *Rule) bool { return r.Kind == x.Kind && bytes.Equal(r.Name, x.Name) })
}

func (t *Table) replace(rules []*Rule) error {
	s, err := newSet(rules)
	if err == nil {
		t.set = s
	}
	return err
}
