package limits

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cairn-kv/cairn/internal/engine"
	"github.com/cairn-kv/cairn/internal/engine/mem"
	"github.com/cairn-kv/cairn/internal/wire"
)

func TestParseRule(t *testing.T) {
	for text, want := range map[string]string{
		`{"kind":"prefix","name":"YXBwLw==","maxKeys":10}`:                                   `{"kind":"prefix","name":"YXBwLw==","maxKeys":10}`,
		`{"kind":"prefix","name":"","maxBytes":9007199254740992}`:                            `{"kind":"prefix","name":"","maxBytes":9007199254740992}`,
		`{"kind":"user","name":"YW5u","writesPerSecond":5}`:                                  `{"kind":"user","name":"YW5u","writesPerSecond":5,"writeBurst":5}`,
		`{"kind":"user","name":"YW5u","readsPerSecond":5,"readBurst":1}`:                     `{"kind":"user","name":"YW5u","readsPerSecond":5,"readBurst":1}`,
		`{"kind":"user","name":"YW5u"}`:                                                      "nothing is limited: give a rate or a quota, or remove the limit",
		`{"kind":"user","name":"YW5u","maxKeys":1}`:                                          "a user has no quota: set one for a prefix",
		`{"kind":"user","name":"","writesPerSecond":1}`:                                      "the name of the user is empty",
		`{"kind":"role","name":"YW5u","writesPerSecond":1}`:                                  `a limit is for a user or a prefix, not for "role"`,
		`{"kind":"prefix","writeBurst":1,"maxKeys":1}`:                                       "a burst of writes needs a rate of them",
		`{"kind":"prefix","readBurst":1,"maxKeys":1}`:                                        "a burst of reads needs a rate of them",
		`{"kind":"prefix","maxKeys":-1}`:                                                     "a quota has to be from 0 to 9007199254740992, not -1",
		`{"kind":"prefix","maxBytes":9007199254740993}`:                                      "a quota has to be from 0 to 9007199254740992, not 9007199254740993",
		`{"kind":"prefix","writesPerSecond":1000000001}`:                                     "a rate or burst of writes has to be from 0 to 1000000000, not 1000000001",
		`{"kind":"prefix","readsPerSecond":1,"readBurst":-1}`:                                "a rate or burst of reads has to be from 0 to 1000000000, not -1",
		`{"kind":"prefix","maxKeys":1.5}`:                                                    "malformed limit: ",
		`{"kind":"prefix","maxKey":1}`:                                                       "malformed limit: ",
		`{"kind":"prefix","name":"*"}`:                                                       "malformed limit: ",
		`{"kind":"prefix","maxKeys":1} x`:                                                    "malformed limit: there is something behind it",
		``:                                                                                   "malformed limit: ",
		`{"kind":"prefix","maxKeys":1,"name":"` + strings.Repeat("YWFh", MaxName/3+1) + `"}`: "the name of a user, or a prefix, has at most 1024 bytes",
	} {
		r, err := ParseRule([]byte(text))
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), want), "%s: %v", text, err)
			continue
		}
		require.Equal(t, want, string(r.Append(nil)))
		again, err := ParseRule(r.Append(nil))
		require.NoError(t, err)
		require.Equal(t, r, again)
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add([]byte(`{"kind":"prefix","name":"YXBwLw==","maxKeys":10,"writesPerSecond":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRule(b)
		if err != nil {
			return
		}
		again, err := ParseRule(r.Append(nil))
		require.NoError(t, err)
		require.Equal(t, r.Append(nil), again.Append(nil))
		x, err := ParseTarget(r.Target.Append(nil))
		require.NoError(t, err)
		require.Equal(t, recordKey(&r.Target), recordKey(&x))
	})
}

func prefixRule(name string, keys int64) *Rule {
	return &Rule{Target: Target{Prefix, []byte(name)}, MaxKeys: keys}
}

// TestSetFindsWhatCovers compares the lookups with looking at every rule.
func TestSetFindsWhatCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = "ab\x00\xff"[rng.IntN(4)]
		}
		return string(b)
	}
	for range 300 {
		have := map[string]*Rule{}
		for range rng.IntN(25) {
			w := word(6)
			have[w] = prefixRule(w, 1)
		}
		var rules []*Rule
		for _, r := range have {
			rules = append(rules, r)
		}
		s, err := newSet(rules)
		require.NoError(t, err)
		require.Equal(t, len(rules), s.Len())
		if s == nil {
			continue
		}
		for range 50 {
			key := word(9)
			var want, got []string
			for p, r := range have {
				require.Equal(t, strings.HasPrefix(key, p), r.Range().Contains(key), "%q %q", p, key)
				if strings.HasPrefix(key, p) {
					want = append(want, p)
				}
			}
			slices.SortFunc(want, func(a, b string) int { return len(b) - len(a) })
			s.Covering(key, func(r *Rule) { got = append(got, string(r.Name)) })
			require.Equal(t, want, got)

			k := wire.Range{Lo: word(9), Hi: word(9)}
			want, got = nil, nil
			for p, r := range have {
				if r.Range().Overlaps(k) {
					want = append(want, p)
				}
			}
			s.Touching(k, func(r *Rule) { got = append(got, string(r.Name)) })
			require.ElementsMatch(t, want, got, "%q", k)
		}
	}
}

// TestTableIsBoundedAndKept: rules survive, bad ones change nothing.
func TestTableIsBoundedAndKept(t *testing.T) {
	eng := mem.New()
	var table *Table
	open := func() {
		var err error
		table, err = Open(eng)
		require.NoError(t, err)
	}
	do := func(f func(engine.Batch) error) error {
		b := eng.NewBatch()
		err := f(b)
		if err != nil {
			require.Zero(t, b.Len(), "a refusal writes nothing")
		}
		require.NoError(t, eng.Commit(b))
		return err
	}
	set := func(r *Rule) error { return do(func(b engine.Batch) error { return table.Set(b, r) }) }
	remove := func(x Target) error { return do(func(b engine.Batch) error { return table.Remove(b, &x) }) }
	all := func() (out []string) {
		for r := range table.View().All() {
			out = append(out, r.String())
		}
		return out
	}
	open()
	require.Nil(t, table.View())
	require.False(t, table.View().Quotas())
	require.NoError(t, set(prefixRule("b", 1)))
	require.NoError(t, set(prefixRule("", 1)))
	require.NoError(t, set(&Rule{Target: Target{User, []byte("b")}, ReadsPerSecond: 1, ReadBurst: 1}))
	require.NoError(t, set(prefixRule("b", 2)), "in the place of the other")
	before := all()
	require.Equal(t, []string{`user "b"`, `prefix ""`, `prefix "b"`}, before)
	open()
	require.Equal(t, before, all())
	require.True(t, table.View().Quotas())
	require.NotNil(t, table.View().User("b"))
	require.Nil(t, table.View().User("a"))
	require.Equal(t, codes.NotFound, status.Code(remove(Target{Prefix, []byte("a")})))

	long := ""
	for range MaxDepth - 2 { // the empty prefix and b are there
		long += "b"
		require.NoError(t, set(prefixRule(long+"b", 1)))
	}
	require.Equal(t, codes.FailedPrecondition, status.Code(set(prefixRule(long+"bb", 1))))
	require.Equal(t, codes.FailedPrecondition, status.Code(set(prefixRule(long+"bbc", 1))))
	for i := table.View().Len(); i < MaxRules; i++ {
		require.NoError(t, set(prefixRule(fmt.Sprint(i), 1)))
	}
	require.ErrorContains(t, set(prefixRule("one more", 1)), "there are 1000 limits already")
	require.NoError(t, set(prefixRule("999", 3)), "but one may change")
	open()
	for r := range table.View().All() {
		require.NoError(t, remove(r.Target))
	}
	require.Nil(t, table.View())
	open()
	require.Nil(t, table.View())

	b := eng.NewBatch()
	b.Set(engine.Cluster, []byte(recordPrefix+"prefix/a"), prefixRule("b", 1).Append(nil))
	require.NoError(t, eng.Commit(b))
	_, err := Open(eng)
	require.ErrorContains(t, err, "it is that of")
}
