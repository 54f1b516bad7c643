package host

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/cairn-kv/cairn/internal/cluster"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/node"
	"github.com/cairn-kv/cairn/internal/snapshot"
	"github.com/cairn-kv/cairn/internal/wire"
)

// Fetch gets a database file from a member, by one of its peer URLs, and the index it belongs to.
type Fetch func(ctx context.Context, url string) (index uint64, image io.ReadCloser, err error)

var (
	errNobody = errors.New("host: there is no other member to heal from")
	errGap    = errors.New("host: the log does not reach back to the image any more")
)

// WriteImage writes the present state as a database file. index is told before the first byte is written.
func (h *Host) WriteImage(ctx context.Context, index func(uint64), w io.Writer) error {
	records, v, err := h.Snapshot(ctx)
	if err != nil {
		return err
	}
	defer records.Release()
	if v.Corrupt(h.cfg.MemberID) {
		return wire.ErrCorrupt
	}
	image, err := snapshot.Plan(ctx, unhurried{records, h.stop}, snapshot.Options{Tree: true})
	if err != nil {
		return err
	}
	index(v.Applied)
	_, err = image.WriteTo(w)
	return err
}

// Heal exchanges this member's database for what another member holds, with what the log adds to it. The log is the same
// on all members; only what came of it is not to be believed. It ends the CORRUPT alarm if the result is what the others
// have.
func (h *Host) Heal(ctx context.Context, fetch Fetch) error {
	if h.cfg.Stores == nil || h.alone.Load() {
		return errNobody
	}
	mc, index, err := h.fetchImage(ctx, fetch)
	if err != nil {
		return err
	}
	if err := h.exchange(ctx, mc, index); err != nil {
		return errors.Join(err, mc.Engine().Close())
	}
	h.cfg.Logger.Warn("the database was exchanged for that of another member", "index", index, "revision", h.KV().Rev())
	own, err := h.HashKV(ctx, 0)
	if err != nil {
		return err
	}
	if v := h.judge(ctx, own); contains(v.corrupt, h.cfg.MemberID) || v.unclear {
		return fmt.Errorf("host: the database was exchanged, and still differs from what the others hold at revision %d", own.Rev)
	}
	if !contains(h.corrupt(), h.cfg.MemberID) {
		return nil
	}
	_, err = h.ProposeMessage(ctx, wire.KindAlarm, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE,
		MemberID: uint64(h.cfg.MemberID), Alarm: pb.AlarmType_CORRUPT})
	return err
}

// fetchImage gets the state of a member that is to be believed, of the leader if it is one.
func (h *Host) fetchImage(ctx context.Context, fetch Fetch) (*machine.Machine, uint64, error) {
	v := h.View()
	var from []cluster.Member
	for _, m := range v.Cluster.Members() {
		switch {
		case m.ID == h.cfg.MemberID || v.Corrupt(m.ID):
		case m.ID == h.Leader():
			from = append([]cluster.Member{m}, from...)
		default:
			from = append(from, m)
		}
	}
	err := errNobody
	for _, m := range from {
		for _, url := range m.PeerURLs {
			var mc *machine.Machine
			var index uint64
			if mc, index, err = h.fetchFrom(ctx, fetch, url); err == nil {
				return mc, index, nil
			}
		}
	}
	return nil, 0, err
}

func (h *Host) fetchFrom(ctx context.Context, fetch Fetch, url string) (*machine.Machine, uint64, error) {
	index, image, err := fetch(ctx, url)
	if err != nil {
		return nil, 0, err
	}
	defer image.Close()
	r := &h.received
	r.mu.Lock()
	busy := r.busy || len(r.ready) == mostReady
	if !busy {
		r.busy = true
	}
	r.mu.Unlock()
	if busy {
		return nil, 0, errBusy
	}
	defer func() {
		r.mu.Lock()
		r.busy = false
		r.mu.Unlock()
	}()
	mc, err := h.receive(ctx, index, image)
	return mc, index, err
}

// exchange brings a machine up to where this member is and puts it in the place of its own.
func (h *Host) exchange(ctx context.Context, mc *machine.Machine, index uint64) error {
	for {
		at := h.View().Applied
		if at < mc.Applied() {
			if err := h.pause(ctx, h.cfg.Tick/10); err != nil {
				return err
			}
			continue
		}
		if err := h.follow(mc, at); err != nil {
			return err
		}
		if h.View().Applied-mc.Applied() < replayChunk {
			break
		}
	}
	var err error
	if e := h.call(ctx, func() {
		if err = h.follow(mc, h.machine().Applied()); err != nil {
			return
		}
		// A start looks for a database that is as new as the last mark in the log.
		if err = mc.Engine().Flush(); err != nil {
			return
		}
		if err = h.cfg.Stores.Use(index); err == nil {
			h.replace(mc)
		}
	}); e != nil {
		return e
	}
	return err
}

// follow gives a machine the entries up to an index.
func (h *Host) follow(mc *machine.Machine, to uint64) error {
	var eff machine.Effects
	for mc.Applied() < to {
		var entries []*raftpb.Entry
		var err error
		if e := h.ask(func(n *node.Node) { entries, err = n.Entries(mc.Applied()+1, min(to, mc.Applied()+replayChunk)) }); e != nil {
			return e
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errGap, err)
		}
		if err := mc.Apply(entries, &eff); err != nil {
			return err
		}
		eff.Reset()
	}
	return nil
}
