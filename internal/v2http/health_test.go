package v2http

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/wire"
)

// H-02 H-03 H-04: well or not, and why.
func TestHealth(t *testing.T) {
	nospace := func(m *member) { m.alarm(pb.AlarmType_NOSPACE) }
	both := func(m *member) { m.alarm(pb.AlarmType_NOSPACE); m.alarm(pb.AlarmType_CORRUPT) }
	noLeader := func(m *member) { m.lead = 0; m.readErr = wire.ErrNoLeader }
	for _, c := range []struct {
		name   string
		set    func(*member)
		query  string
		reason string
	}{
		{"well", nil, "", ""},
		{"full", nospace, "", "ALARM NOSPACE"},
		{"full and known", nospace, "?exclude=NOSPACE", ""},
		{"corrupt although full is known", both, "?exclude=NOSPACE", "ALARM CORRUPT"},
		{"both known", both, "?exclude=NOSPACE&exclude=CORRUPT", ""},
		{"an alarm nobody knows", func(m *member) { m.alarm(7) }, "", "ALARM UNKNOWN"},
		{"no leader", noLeader, "", "RAFT NO LEADER"},
		{"no leader needed", noLeader, "?serializable=true", ""},
		{"reads fail", func(m *member) { m.readErr = errors.New("slow") }, "", "RANGE ERROR:slow"},
		{"the log cannot be written", func(m *member) { m.failure = errors.New("disk") }, "", "RANGE ERROR:disk"},
		{"it has no leader for that", func(m *member) { noLeader(m); m.failure = errors.New("disk") }, "", "RANGE ERROR:disk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMember(t)
			if c.set != nil {
				c.set(m)
			}
			s := newSite(t, m, nil)
			w := s.do("GET", "/health"+c.query)
			require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
			if c.reason == "" {
				require.Equal(t, 200, w.Code)
				require.Equal(t, `{"health":"true","reason":""}`, w.Body.String())
				require.True(t, s.metric("etcd_server_health_success 1"))
				require.True(t, s.metric("etcd_server_health_failures 0"))
				return
			}
			require.Equal(t, 503, w.Code)
			require.Equal(t, `{"health":"false","reason":"`+c.reason+`"}`+"\n", w.Body.String())
			require.True(t, s.metric("etcd_server_health_failures 1"))
		})
	}
}

func TestProbes(t *testing.T) {
	bad := errors.New("no answer")
	for _, c := range []struct {
		name, target string
		set          func(*member)
		code         int
		body         string
	}{
		{"live", "/livez", nil, 200, "ok\n"},
		{"live, all told", "/livez?verbose", nil, 200, "[+]serializable_read ok\nok\n"},
		{"live without a leader", "/livez", func(m *member) { m.readErr = bad }, 200, "ok\n"},
		{"ready", "/readyz", nil, 200, "ok\n"},
		{"ready, all told", "/readyz?verbose=", nil, 200,
			"[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"},
		{"full is ready", "/readyz", func(m *member) { m.alarm(pb.AlarmType_NOSPACE) }, 200, "ok\n"},
		{"corrupt is not", "/readyz", func(m *member) { m.alarm(pb.AlarmType_CORRUPT) }, 503,
			"[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\n\n"},
		{"one check excluded", "/readyz?exclude=data_corruption&exclude=linearizable_read&exclude=what&verbose",
			func(m *member) { m.alarm(pb.AlarmType_CORRUPT); m.readErr = bad }, 200, "[+]serializable_read ok\n[+]non_learner ok\nok\n"},
		{"no quorum", "/readyz?exclude=data_corruption", func(m *member) { m.readErr = bad }, 503,
			"[+]serializable_read ok\n[-]linearizable_read failed: no answer\n[+]non_learner ok\n\n"},
		{"a learner is not ready", "/readyz/non_learner", (*member).becomeLearner, 503, "[-]non_learner failed: not supported for learner\n\n"},
		{"a learner lives", "/livez/serializable_read?verbose", (*member).becomeLearner, 200, "[+]serializable_read ok\nok\n"},
		{"one check", "/readyz/linearizable_read", func(m *member) { m.failure = bad }, 503, "[-]linearizable_read failed: no answer\n\n"},
		{"a check of the other probe", "/livez/linearizable_read", nil, 404, "404 page not found\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMember(t)
			if c.set != nil {
				c.set(m)
			}
			w := newSite(t, m, nil).do("GET", c.target)
			require.Equal(t, c.code, w.Code)
			require.Equal(t, c.body, w.Body.String())
			require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
			require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		})
	}
}

func TestProbeMetrics(t *testing.T) {
	m := newMember(t)
	s := newSite(t, m, nil)
	require.True(t, s.metric(`etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 0`))
	s.do("GET", "/readyz")
	require.True(t, s.metric(`etcd_server_healthcheck{name="linearizable_read",type="readyz"} 1`))
	m.readErr = errors.New("no")
	s.do("GET", "/readyz")
	require.True(t, s.metric(`etcd_server_healthcheck{name="linearizable_read",type="readyz"} 0`))
	require.True(t, s.metric(`etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 1`))
	require.True(t, s.metric(`etcd_server_healthchecks_total{name="linearizable_read",status="success",type="readyz"} 1`))
	require.True(t, s.metric(`etcd_server_healthchecks_total{name="serializable_read",status="success",type="readyz"} 2`))
}
