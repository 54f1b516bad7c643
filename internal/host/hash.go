package host

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// HashKV hashes the keyspace at a revision, 0 for the present one (v3-grpc.md section 16.6).
func (h *Host) HashKV(ctx context.Context, rev int64) (machine.KVHash, error) {
	if rev > 0 {
		if hash, compacted, ok := h.CompactHash(rev); ok {
			return machine.KVHash{Hash: hash, Rev: rev, CompactRev: compacted}, nil
		}
	}
	records, state, err := h.Snapshot(ctx)
	if err != nil {
		return machine.KVHash{}, err
	}
	defer records.Release()
	if err := state.KV.CheckRev(rev); err != nil {
		return machine.KVHash{}, err
	}
	if rev == 0 {
		rev = state.KV.Rev()
	}
	sum, err := state.KV.HashKV(records, rev, state.KV.CompactRev())
	return machine.KVHash{Hash: sum, Rev: rev, CompactRev: state.KV.CompactRev()}, err
}

const hashWithin = 30 * time.Second

// verdict is what members' hashes say: who differs from the majority. Without a majority nobody can be named.
type verdict struct {
	corrupt  []cluster.ID
	unclear  bool
	complete bool // everyone has answered
}

// judge compares one hash here with the others' at the same revision, over the same compaction.
func (h *Host) judge(ctx context.Context, own machine.KVHash) verdict {
	members := h.View().Cluster.Members()
	v := verdict{complete: true}
	answers := map[uint32][]cluster.ID{own.Hash: {h.cfg.MemberID}}
	n := 1
	for _, m := range members {
		if m.ID == h.cfg.MemberID {
			continue
		}
		hash, ok := h.hashOf(ctx, m, own.Rev)
		if !ok || hash.CompactRev != own.CompactRev {
			v.complete = false
			continue
		}
		answers[hash.Hash] = append(answers[hash.Hash], m.ID)
		n++
	}
	if len(answers) == 1 {
		return v
	}
	v.unclear = true
	for _, ids := range answers {
		v.unclear = v.unclear && 2*len(ids) <= n
	}
	if !v.unclear {
		for _, m := range members { // in order
			for _, ids := range answers {
				if 2*len(ids) <= n && contains(ids, m.ID) {
					v.corrupt = append(v.corrupt, m.ID)
				}
			}
		}
	}
	return v
}

func contains(ids []cluster.ID, id cluster.ID) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

func (h *Host) hashOf(ctx context.Context, m cluster.Member, rev int64) (machine.KVHash, bool) {
	ctx, cancel := context.WithTimeout(ctx, hashWithin)
	defer cancel()
	for _, url := range m.PeerURLs {
		if r, err := h.cfg.Others.HashKV(ctx, url, h.cfg.ClusterID, rev); err == nil {
			return machine.KVHash{Hash: r.Hash, Rev: r.HashRevision, CompactRev: r.CompactRevision}, true
		}
	}
	return machine.KVHash{}, false
}

// accuse raises the CORRUPT alarm for those that a verdict names, or for nobody in particular.
func (h *Host) accuse(ctx context.Context, v verdict, own machine.KVHash) {
	ids := v.corrupt
	if v.unclear {
		ids = []cluster.ID{0}
	}
	for _, id := range ids {
		if contains(h.corrupt(), id) {
			continue
		}
		h.cfg.Logger.Error("members hold different data: raising the CORRUPT alarm", "alarmed-member-id", id.String(),
			"revision", own.Rev, "compact-revision", own.CompactRev, "hash", own.Hash)
		_, err := h.ProposeMessage(ctx, wire.KindAlarm, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: uint64(id), Alarm: pb.AlarmType_CORRUPT})
		if err != nil {
			h.cfg.Logger.Error("failed to raise alarm", "alarm", "CORRUPT", "error", err.Error())
		}
	}
}

func (h *Host) corrupt() (ids []cluster.ID) {
	for _, a := range h.View().Alarms {
		if a.Type == pb.AlarmType_CORRUPT {
			ids = append(ids, a.Member)
		}
	}
	return ids
}

// compareCompactions compares the newest hash that a compaction has left behind, on the leader.
func (h *Host) compareCompactions(ctx context.Context) {
	own, ok := h.compactions.newest()
	if !ok || own.Rev <= h.compared || h.alone.Load() || h.cfg.Others == nil {
		return
	}
	v := h.judge(ctx, own)
	if len(v.corrupt) > 0 || v.unclear {
		h.accuse(ctx, v, own)
	}
	if v.complete {
		h.compared = own.Rev
	}
}

// compareAtStart compares what a member holds with what the others do, once, after it has started.
func (h *Host) compareAtStart(ctx context.Context) (done bool) {
	select {
	case <-h.ready:
	default:
		return false
	}
	if h.alone.Load() || h.cfg.Others == nil || h.IsLeader() {
		return true // the others compare with a leader
	}
	if size := h.sizeInUse.Load(); size > h.cfg.CheckAtStart {
		h.cfg.Logger.Info("the database is not compared with those of other members at start", "in-use-bytes", size)
		return true
	}
	own, err := h.HashKV(ctx, 0)
	if err != nil {
		return errors.Is(err, ErrStopping)
	}
	v := h.judge(ctx, own)
	if len(v.corrupt) > 0 || v.unclear {
		h.accuse(ctx, v, own)
	}
	return v.complete
}

// corruptHere takes note of whether this member is one that nobody may believe: it does not lead then.
func (h *Host) corruptHere(v *machine.View) {
	if bad := v.Corrupt(h.cfg.MemberID); h.unfit.Swap(bad) != bad {
		h.loopBox.put(fitness{})
	}
}

func (c *compactions) newest() (machine.KVHash, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.hashes) == 0 {
		return machine.KVHash{}, false
	}
	x := c.hashes[len(c.hashes)-1]
	return machine.KVHash{Hash: x.Hash, Rev: x.Rev, CompactRev: x.CompactedRev}, true
}
