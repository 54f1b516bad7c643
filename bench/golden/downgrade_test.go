package golden

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestDowngrade goes through a downgrade job, and what is refused before, meanwhile and after it.
func TestDowngrade(t *testing.T) {
	var got [][]string
	for _, p := range both() {
		s := start(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		m := pb.NewMaintenanceClient(s.conn)
		var said []string
		ask := func(a pb.DowngradeRequest_DowngradeAction, version string) {
			r, err := m.Downgrade(ctx, &pb.DowngradeRequest{Action: a, Version: version})
			said = append(said, fmt.Sprintf("%v %q: %q %v", a, version, r.GetVersion(), err))
		}
		until := func(storage string) {
			for ctx.Err() == nil {
				r, err := m.Status(ctx, &pb.StatusRequest{})
				if err == nil && r.StorageVersion == storage {
					said = append(said, fmt.Sprint(r.Version, r.StorageVersion, r.DowngradeInfo))
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
			t.Errorf("%s: the storage version never was %s", p.Kind, storage)
		}
		const validate, enable, undo = pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE, pb.DowngradeRequest_CANCEL
		until("3.7.0")
		for _, v := range []string{"", "x", "3", "3.6", "3.6.9", "3.6.0-rc.1", "v3.6", "3.7", "3.5.0", "4.6.0", "-3.6.0", "3.6.0.0"} {
			ask(validate, v)
		}
		for _, v := range []string{"x", "3.5"} {
			ask(enable, v)
		}
		ask(pb.DowngradeRequest_DowngradeAction(7), "3.6")
		ask(undo, "")
		ask(enable, "3.6.2")
		ask(enable, "3.6")
		ask(validate, "3.6")
		until("3.6.0")
		ask(validate, "3.5")
		ask(undo, "nothing")
		ask(undo, "")
		until("3.7.0")
		got = append(got, said)
	}
	if !slices.Equal(got[0], got[1]) {
		t.Errorf("etcd:  %q\ncairn: %q", got[0], got[1])
	}
}
