package machine

import (
	"cmp"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Alarm is an alarm that one member has raised.
type Alarm struct {
	Member cluster.ID
	Type   pb.AlarmType
}

type alarms struct{ set []Alarm } // sorted; replaced on change, so that views may share it

func openAlarms(eng engine.Engine) (a alarms, err error) {
	var bad error
	err = eng.Scan(engine.Alarm, nil, nil, func(k, _ []byte) bool {
		var m pb.AlarmMember
		if bad = proto.Unmarshal(k, &m); bad != nil {
			bad = fmt.Errorf("machine: alarm record %x: %w", k, bad)
			return false
		}
		a.add(Alarm{cluster.ID(m.MemberID), m.Alarm})
		return true
	})
	if err == nil {
		err = bad
	}
	return a, err
}

func (a *alarms) list() []Alarm { return a.set }

func (a *alarms) has(t pb.AlarmType) bool {
	return slices.ContainsFunc(a.set, func(x Alarm) bool { return x.Type == t })
}

func (a *alarms) add(x Alarm) {
	if !slices.Contains(a.set, x) {
		a.set = append(slices.Clone(a.set), x)
		slices.SortFunc(a.set, func(x, y Alarm) int {
			return cmp.Or(cmp.Compare(x.Type, y.Type), cmp.Compare(x.Member, y.Member))
		})
	}
}

func (a *alarms) remove(x Alarm) {
	a.set = slices.DeleteFunc(slices.Clone(a.set), func(y Alarm) bool { return x == y })
}

// key is the alarm's canonical encoding as etcd's AlarmMember.
func (x Alarm) key() []byte {
	return wire.AppendUint(wire.AppendUint(nil, 1, uint64(x.Member)), 2, uint64(x.Type))
}

// alarm answers an alarm request (v3-grpc.md section 16.2).
func (m *Machine) alarm(q *pb.AlarmRequest) ([]Alarm, error) {
	x := Alarm{cluster.ID(q.MemberID), q.Alarm}
	switch q.Action {
	case pb.AlarmRequest_GET:
		return FilterAlarms(m.alarms.list(), q.Alarm), nil
	case pb.AlarmRequest_ACTIVATE:
		if x.Type == pb.AlarmType_NONE {
			return nil, nil
		}
		m.alarms.add(x)
		m.batch.Set(engine.Alarm, x.key(), nil)
		return []Alarm{x}, nil
	case pb.AlarmRequest_DEACTIVATE:
		if !slices.Contains(m.alarms.set, x) {
			return nil, nil
		}
		m.alarms.remove(x)
		m.batch.Delete(engine.Alarm, x.key())
		return []Alarm{x}, nil
	default:
		return nil, status.Errorf(codes.InvalidArgument, "cairn: unknown alarm action %d", q.Action)
	}
}

// FilterAlarms picks the alarms of one type; NONE stands for all.
func FilterAlarms(in []Alarm, t pb.AlarmType) []Alarm {
	if t == pb.AlarmType_NONE {
		return in
	}
	var out []Alarm
	for _, x := range in {
		if x.Type == t {
			out = append(out, x)
		}
	}
	return out
}

// refusedByAlarm tells whether an active alarm forbids the command. CORRUPT wins over NOSPACE.
func (m *Machine) refusedByAlarm(c *wire.Command) error {
	if len(m.alarms.set) == 0 {
		return nil
	}
	if m.alarms.has(pb.AlarmType_CORRUPT) && corruptEverywhere(m.alarms.set, m.config.View()) {
		switch c.Kind {
		case wire.KindPut, wire.KindDeleteRange, wire.KindTxn, wire.KindCompaction, wire.KindLeaseGrant, wire.KindLeaseRevoke:
			return wire.ErrCorrupt
		}
	}
	if m.alarms.has(pb.AlarmType_NOSPACE) {
		switch c.Kind {
		case wire.KindPut, wire.KindLeaseGrant:
			return wire.ErrNoSpace
		case wire.KindTxn:
			if t, ok := wire.ParseTxn(c.Body); ok && t.Puts() {
				return wire.ErrNoSpace
			}
		}
	}
	return nil
}

// corruptEverywhere reports whether the CORRUPT alarms leave nobody to believe. As long as they name a minority of the
// voters, the others go on, and only those that are named have to keep silent.
func corruptEverywhere(alarms []Alarm, members *cluster.View) bool {
	named := 0
	for _, a := range alarms {
		if a.Type != pb.AlarmType_CORRUPT {
			continue
		}
		switch m, ok := members.Member(a.Member); {
		case !ok:
			return true
		case !m.IsLearner:
			named++
		}
	}
	return 2*named >= len(members.ConfState().GetVoters())
}

// Corrupt reports whether the data of a member is not to be believed, though that of others may be.
func (v *View) Corrupt(id cluster.ID) bool {
	return slices.Contains(v.Alarms, Alarm{id, pb.AlarmType_CORRUPT}) && !corruptEverywhere(v.Alarms, v.Cluster)
}
