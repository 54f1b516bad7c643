package machine

import (
	"encoding/json"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/membershippb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/lease"
	"github.com/cairn-kv/cairn/internal/wire"
)

// command gives one command its effect. Refusals go into r.Err; only an engine that fails is returned.
func (m *Machine) command(c *wire.Command, r *Result, eff *Effects) error {
	if managed(c.Kind) {
		if r.Err = m.auth.View().Admin(identity(c)); r.Err != nil {
			return nil
		}
	}
	if r.Err = m.refusedByAlarm(c); r.Err != nil {
		return nil
	}
	if m.authCommand(c, r, eff) {
		return nil
	}
	switch c.Kind {
	case wire.KindPut:
		p, ok := wire.ParsePut(c.Body)
		if !ok || len(p.Key) == 0 {
			r.Err = wire.Malformed()
			return nil
		}
		if m.auth.Enabled() {
			if r.Err = m.auth.View().Allow(identity(c), PutNeeds(nil, &p, m.leases.View())...); r.Err != nil {
				return nil
			}
		}
		if r.Err = m.checkPut(&p); r.Err == nil {
			r.Err = roomForPut(m.kv.Peek(), m.limits.View(), &p)
		}
		if r.Err == nil {
			r.Prev = m.put(&p)
		}
	case wire.KindDeleteRange:
		d, ok := wire.ParseDelete(c.Body)
		if !ok {
			r.Err = wire.Malformed()
			return nil
		}
		if m.auth.Enabled() {
			if r.Err = m.auth.View().Allow(identity(c), DeleteNeeds(nil, &d)...); r.Err != nil {
				return nil
			}
		}
		if r.Err = m.mayDelete(&d); r.Err == nil {
			r.Deleted, r.PrevKVs = m.deleteRange(&d)
		}
	case wire.KindTxn:
		t, ok := wire.ParseTxn(c.Body)
		if !ok {
			r.Err = wire.Malformed()
			return nil
		}
		if m.auth.Enabled() {
			if r.Err = m.auth.View().Allow(identity(c), TxnNeeds(nil, t, m.leases.View())...); r.Err != nil {
				return nil
			}
		}
		if t.ReadsHistory() {
			// An older record may still be in the open batch, out of the reader's sight.
			if err := m.settle(); err != nil {
				return err
			}
			m.batch = m.eng.NewBatch()
		}
		r.Txn, r.Err = m.txn(t)
	case wire.KindCompaction:
		var q pb.CompactionRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			r.Err = m.kv.Compact(m.batch, q.Revision)
		}
		r.CompactRev = m.kv.CompactRev()
	case wire.KindLeaseGrant:
		var q pb.LeaseGrantRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			r.Lease, r.Err = m.leaseGrant(&q, eff)
		}
	case wire.KindLeaseRevoke:
		var q pb.LeaseRevokeRequest
		if r.Err = unmarshal(c, &q); r.Err != nil {
			return nil
		}
		if m.auth.Enabled() {
			if r.Err = m.auth.View().Allow(identity(c), LeaseNeeds(nil, m.leases.View(), q.ID, true)...); r.Err != nil {
				return nil
			}
		}
		r.Err = m.leaseRevoke(q.ID, eff)
	case wire.KindLeaseCheckpoint:
		var q pb.LeaseCheckpointRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			m.leaseCheckpoint(&q, eff)
		}
	case wire.KindAlarm:
		var q pb.AlarmRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			r.Alarms, r.Err = m.alarm(&q)
		}
	case wire.KindV2:
		q, err := wire.ParseV2Request(c.Body)
		if err != nil {
			r.Err = wire.Malformed()
			return nil
		}
		if q.Path == LimitsRecord {
			r.Err = m.changeLimits(identity(c), &q)
			return nil
		}
		m.v2(&q, r)
	case wire.KindMemberAttrSet:
		var q membershippb.ClusterMemberAttrSetRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			m.tree.Bump(m.batch)
			a := q.GetMemberAttributes()
			r.Err = m.config.SetAttributes(m.batch, cluster.ID(q.GetMember_ID()), a.GetName(), a.GetClientUrls())
		}
	case wire.KindClusterVersionSet:
		var q membershippb.ClusterVersionSetRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			m.tree.Bump(m.batch)
			m.config.SetVersion(m.batch, q.GetVer())
			m.followVersion(q.GetVer())
		}
	case wire.KindDowngradeInfoSet:
		var q membershippb.DowngradeInfoSetRequest
		if r.Err = unmarshal(c, &q); r.Err == nil {
			r.Err = m.setDowngrade(Downgrade{q.GetVer(), q.GetEnabled()})
		}
	case wire.KindDowngradeVersionTest:
	default:
		r.Err = status.Error(codes.Unimplemented, fmt.Sprintf("cairn: no such command: %d", c.Kind))
	}
	return nil
}

func unmarshal(c *wire.Command, m proto.Message) error {
	if proto.Unmarshal(c.Body, m) != nil {
		return wire.Malformed()
	}
	return nil
}

// checkPut tells whether a put can take effect on the present state (v3-grpc.md section 9).
func (m *Machine) checkPut(p *wire.PutRequest) error {
	if err := m.mayPut(p.Key); err != nil {
		return err
	}
	if p.Lease != 0 {
		if _, ok := m.leases.Get(p.Lease); !ok {
			return wire.ErrLeaseNotFound
		}
	}
	if (p.IgnoreValue || p.IgnoreLease) && m.kv.Get(p.Key) == "" {
		return wire.ErrKeyNotFound
	}
	return nil
}

// put writes the record, which checkPut has let pass, and moves the key to its lease.
func (m *Machine) put(p *wire.PutRequest) (prev wire.KV) {
	value, id := p.Value, p.Lease
	if p.IgnoreValue || p.IgnoreLease {
		f := m.kv.Get(p.Key).Fields()
		if p.IgnoreValue {
			value = wire.StringBytes(f.Value)
		}
		if p.IgnoreLease {
			id = f.LeaseID
		}
	}
	prev = m.kv.Put(m.batch, p.Key, value, id)
	var old int64
	if prev != "" {
		old = prev.LeaseID()
	}
	if old != id {
		if old != 0 {
			m.leases.Detach(old, prev.Key())
		}
		if id != 0 {
			m.leases.Attach(id, string(p.Key))
		}
	}
	return prev
}

func (m *Machine) deleteRange(d *wire.DeleteRequest) (deleted int64, prevs []wire.KV) {
	deleted = m.kv.Delete(m.batch, wire.ParseRange(d.Key, d.End), func(prev wire.KV) {
		if d.PrevKV {
			prevs = append(prevs, prev)
		}
		if id := prev.LeaseID(); id != 0 {
			m.leases.Detach(id, prev.Key())
		}
	})
	return deleted, prevs
}

func (m *Machine) leaseGrant(q *pb.LeaseGrantRequest, eff *Effects) (lease.Lease, error) {
	if q.TTL > lease.MaxTTL {
		return lease.Lease{}, wire.ErrLeaseTTLTooLarge
	}
	if q.ID == 0 {
		return lease.Lease{}, wire.ErrLeaseNotFound
	}
	if _, ok := m.leases.Get(q.ID); ok {
		return lease.Lease{}, wire.ErrLeaseExist
	}
	l := lease.Lease{ID: q.ID, TTL: max(q.TTL, m.cfg.MinLeaseTTLSeconds)}
	m.leases.Put(m.batch, l)
	eff.Leases = append(eff.Leases, LeaseEvent{l, LeaseGranted})
	return l, nil
}

// leaseRevoke ends a lease and deletes its keys, ascending, at one revision.
func (m *Machine) leaseRevoke(id int64, eff *Effects) error {
	l, ok := m.leases.Get(id)
	if !ok {
		return wire.ErrLeaseNotFound
	}
	for _, k := range m.leases.View().Keys(id) {
		m.kv.Delete(m.batch, wire.One(k), nil)
	}
	m.leases.Delete(m.batch, id)
	eff.Leases = append(eff.Leases, LeaseEvent{l, LeaseRevoked})
	return nil
}

// leaseCheckpoint notes how much is left of leases; nothing said to be left stands for a renewal.
func (m *Machine) leaseCheckpoint(q *pb.LeaseCheckpointRequest, eff *Effects) {
	for _, c := range q.Checkpoints {
		l, ok := m.leases.Get(c.GetID())
		if !ok {
			continue
		}
		left, what := max(0, min(c.GetRemaining_TTL(), l.TTL)), LeaseCheckpointed
		if left == 0 {
			what = LeaseRenewed
		}
		if left != l.RemainingSeconds {
			l.RemainingSeconds = left
			m.leases.Put(m.batch, l)
		}
		eff.Leases = append(eff.Leases, LeaseEvent{l, what})
	}
}

// followVersion gives the database the schema of the cluster's version. What schemas differ by is only that one of before
// 3.6 does not say which it is. Versions of before 3.5 are those of clusters that have not agreed on one.
func (m *Machine) followVersion(v string) {
	switch {
	case wire.CompareVersions(v, newestStorage) >= 0:
		m.setStorage(newestStorage)
	case wire.CompareVersions(v, "3.6.0") >= 0:
		m.setStorage(wire.MinorVersion(v))
	case wire.CompareVersions(v, "3.5.0") >= 0:
		m.storage = ""
		m.batch.Delete(engine.Meta, metaStorageVersion)
	}
}

func (m *Machine) setStorage(v string) {
	m.storage = v
	m.batch.Set(engine.Meta, metaStorageVersion, []byte(v))
}

func (m *Machine) setDowngrade(d Downgrade) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	m.downgrade = d
	m.batch.Set(engine.Cluster, clusterDowngrade, b)
	return nil
}
