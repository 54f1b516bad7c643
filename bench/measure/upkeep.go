package measure

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/bench/report"
)

// disturbed takes the time of large work, and how long others wait while it goes on.
func disturbed(work func(ctx context.Context, s *subject, c *grpc.ClientConn, into report.Sample) error) measurement {
	return func(ctx context.Context, s *subject) (sample report.Sample, err error) {
		s.settle()
		cs, err := s.dial(ctx, 1)
		if err != nil {
			return nil, err
		}
		defer cs.close()
		p, err := s.probe(ctx)
		if err != nil {
			return nil, err
		}
		time.Sleep(s.plan.Warm)
		into := report.Sample{}
		p.begin()
		sample, err = s.timed(func() error { return work(ctx, s, cs[0], into) })
		delete(sample, report.Growth)
		for m, v := range into {
			sample[m] = v
		}
		if err != nil {
			return nil, errors.Join(err, p.end(report.Sample{}))
		}
		s.settle() // an answer may come before the work is done: what that does to others counts too
		return sample, p.end(sample)
	}
}

// compaction removes the old revision of each key; the answer to a physical one comes when they are gone.
func compaction(ctx context.Context, s *subject, c *grpc.ClientConn, _ report.Sample) error {
	kv := pb.NewKVClient(c)
	r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("none")})
	if err != nil {
		return err
	}
	_, err = kv.Compact(ctx, &pb.CompactionRequest{Revision: r.Header.Revision, Physical: true})
	return err
}

func defragment(ctx context.Context, _ *subject, c *grpc.ClientConn, _ report.Sample) error {
	_, err := pb.NewMaintenanceClient(c).Defragment(ctx, &pb.DefragmentRequest{})
	return err
}

// snapshot receives the whole file. It is hashed, as whoever saves it does, and not written: the disk is the server's.
func snapshot(ctx context.Context, _ *subject, c *grpc.ClientConn, into report.Sample) error {
	st, err := pb.NewMaintenanceClient(c).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return err
	}
	h, tail, size := sha256.New(), []byte(nil), 0
	for {
		r, err := st.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		size += len(r.Blob)
		tail = append(tail, r.Blob...)
		n := max(0, len(tail)-sha256.Size) // the last bytes may be the sum
		h.Write(tail[:n])
		tail = append(tail[:0], tail[n:]...)
	}
	into[report.Size] = float64(size)
	if !bytes.Equal(h.Sum(nil), tail) {
		return fmt.Errorf("measure: the snapshot of %d bytes has another checksum than it says", size)
	}
	return nil
}

func deleteAll(ctx context.Context, s *subject, c *grpc.ClientConn, _ report.Sample) error {
	from, to := under(loadPrefix)
	r, err := pb.NewKVClient(c).DeleteRange(ctx, &pb.DeleteRangeRequest{Key: from, RangeEnd: to})
	if status.Code(err) == codes.Unavailable {
		return goneAfter(ctx, c, from, to, err) // it took longer than the server waits, and goes on
	}
	if err == nil && r.Deleted != int64(s.plan.Keys) {
		err = fmt.Errorf("%d of %d keys deleted", r.Deleted, s.plan.Keys)
	}
	return err
}

// goneAfter waits until a range that a delete without an answer was for is empty.
func goneAfter(ctx context.Context, c *grpc.ClientConn, from, to []byte, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		r, err := pb.NewKVClient(c).Range(ctx, &pb.RangeRequest{Key: from, RangeEnd: to, CountOnly: true})
		if err == nil && r.Count == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(cause, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
