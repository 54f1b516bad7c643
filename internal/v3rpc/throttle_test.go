package v3rpc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/cairn-kv/cairn/internal/auth"
	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/limits"
	"github.com/cairn-kv/cairn/internal/machine"
	"github.com/cairn-kv/cairn/internal/wire"
)

// still is a member whose limits alone change.
type still struct {
	Backend
	eng   engine.Engine
	table *limits.Table
	view  *machine.View
}

func (s *still) View() *machine.View { return s.view }

func (s *still) set(t testing.TB, rule string) {
	r, err := limits.ParseRule([]byte(rule))
	require.NoError(t, err)
	require.NoError(t, s.table.Set(s.eng.NewBatch(), r))
	s.view = &machine.View{Auth: &auth.View{}, Limits: s.table.View()}
}

func newStill(t testing.TB) (*still, *core) {
	s := &still{eng: mem.New(), view: &machine.View{Auth: &auth.View{}}}
	var err error
	s.table, err = limits.Open(s.eng)
	require.NoError(t, err)
	return s, &core{Backend: s, cfg: Config{Metrics: NewMetrics(prometheus.NewRegistry(), false)}}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newStill(t)
		th := &throttle{}
		ask := func(describe func(*load)) string {
			err := th.ask(t.Context(), c, describe)
			var e *limits.Exceeded
			if errors.As(err, &e) {
				return fmt.Sprint(&e.Rule.Target, " ", e.What)
			}
			require.NoError(t, err)
			return ""
		}
		write := func(key string) string { return ask(func(l *load) { l.write(wire.One(key)) }) }
		read := func(lo, hi string) string { return ask(func(l *load) { l.read(wire.Range{Lo: lo, Hi: hi}) }) }
		for range 100 {
			require.Empty(t, write("a/1"), "there are no limits")
		}
		s.set(t, `{"kind":"prefix","name":"YS8=","writesPerSecond":1,"writeBurst":2,"readsPerSecond":1}`) // a/
		require.Empty(t, write("a/1"))
		require.Empty(t, write("a/2"))
		require.Equal(t, `prefix "a/" writes`, write("a/1"))
		require.Empty(t, write("a"))
		require.Empty(t, write("a0"))
		require.Empty(t, read("b", "c"))
		require.Empty(t, read("", "a"))
		require.Empty(t, read("", ""), "reads have a bucket of their own")
		require.Equal(t, `prefix "a/" reads`, read("a/x", "a/y"))
		require.Equal(t, `prefix "a/" reads`, read("a", "b"))

		s.set(t, `{"kind":"prefix","name":"YS9i","writesPerSecond":1}`) // a/b
		require.Equal(t, `prefix "a/" writes`, write("a/1"), "a rule that has not changed keeps what was taken")
		time.Sleep(time.Second)
		require.Empty(t, write("a/b"))
		time.Sleep(time.Second)
		require.Empty(t, write("a/b"))
		require.Equal(t, `prefix "a/b" writes`, write("a/b"))
		time.Sleep(10 * time.Second)
		require.Empty(t, write("a/b"))
		require.Equal(t, `prefix "a/b" writes`, write("a/b"), "and takes nothing of the shorter prefix")
		require.Empty(t, write("a/c"))
		require.Equal(t, `prefix "a/" writes`, write("a/c"))

		time.Sleep(10 * time.Second)
		put := wire.Op{Put: &wire.PutRequest{Key: []byte("a/1")}}
		nested := wire.Op{Txn: &wire.TxnRequest{Failure: []wire.Op{put, {Delete: &wire.DeleteRequest{Key: []byte{0}, End: []byte{0}}}}}}
		txn := func(x *wire.TxnRequest) string { return ask(func(l *load) { l.txn(x) }) }
		require.Empty(t, txn(&wire.TxnRequest{Success: []wire.Op{put}}))
		require.Equal(t, `prefix "a/" writes`, txn(&wire.TxnRequest{Success: []wire.Op{put}, Failure: []wire.Op{put}}), "both branches count")
		require.Empty(t, txn(&wire.TxnRequest{Success: []wire.Op{put}}))
		time.Sleep(10 * time.Second)
		require.Empty(t, txn(&wire.TxnRequest{Success: []wire.Op{put, nested}}), "more than the burst takes all of it")
		require.Equal(t, `prefix "a/" writes`, write("a/1"))
		require.Empty(t, txn(&wire.TxnRequest{}))

		for name, rule := range map[string]string{"a/": "YS8=", "a/b": "YS9i"} {
			x := limits.Target{Kind: limits.Prefix, Name: []byte(name)}
			require.NoError(t, s.table.Remove(s.eng.NewBatch(), &x), rule)
		}
		s.view = &machine.View{Auth: &auth.View{}, Limits: s.table.View()}
		for range 100 {
			require.Empty(t, write("a/b"))
		}
		require.EqualValues(t, 7, testutil.ToFloat64(c.cfg.Metrics.refused[refusal{limits.Prefix, limits.Writes}]), "refusals are counted")
		require.EqualValues(t, 2, testutil.ToFloat64(c.cfg.Metrics.refused[refusal{limits.Prefix, limits.Reads}]))
	})
}

// TestNoLimitsCostNothing: a request that no limit is for takes no memory for being asked.
func TestNoLimitsCostNothing(t *testing.T) {
	_, c := newStill(t)
	th := &throttle{}
	p := &wire.PutRequest{Key: []byte("a/1")}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if th.ask(context.Background(), c, func(l *load) { l.write(wire.One(wire.BytesString(p.Key))) }) != nil || c.View().Limits.Quotas() {
			panic("refused")
		}
	}))
}

func BenchmarkAsk(b *testing.B) {
	p := &wire.PutRequest{Key: []byte("prefix500/key")}
	for _, rules := range []int{0, 1, 1000} {
		b.Run(fmt.Sprint(rules, " rules"), func(b *testing.B) {
			s, c := newStill(b)
			for i := range rules {
				r := limits.Rule{Target: limits.Target{Kind: limits.Prefix, Name: fmt.Appendf(nil, "prefix%d/", i+500)}, WritesPerSecond: limits.MaxRate}
				s.set(b, string(r.Append(nil)))
			}
			th := &throttle{}
			for b.Loop() {
				if err := th.ask(context.Background(), c, func(l *load) { l.write(wire.One(wire.BytesString(p.Key))) }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
