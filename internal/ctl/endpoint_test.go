package ctl

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

// steady replaces what no test can foretell: the address and durations.
func steady(s *fake.Server, r result) result {
	took := regexp.MustCompile(`([0-9.]+(m|µ|n)?s)\b`)
	fix := func(text string) string {
		return took.ReplaceAllString(strings.ReplaceAll(text, s.Addr, "EP"), "TOOK")
	}
	return result{fix(r.out), fix(r.err), r.code}
}

func TestEndpointStatus(t *testing.T) {
	s := fake.Start(t)
	statusJSON := `[{"Endpoint":"EP","Status":{"header":` + at(header, "1") + `,"version":"3.7.1","dbSize":20480,"leader":10276657743932975437,"raftIndex":8,"raftTerm":2,"raftAppliedIndex":8,"dbSizeInUse":16384,"storageVersion":"3.7.0","dbSizeQuota":2147483648,"downgradeInfo":{}}}]` + "\n"
	for args, want := range map[string]string{
		"endpoint status":         "EP, 8e9e05c52164694d, 3.7.1, 3.7.0, 20 kB, 16 kB, 20%, 2.1 GB, true, false, 2, 8, 8, , , false\n",
		"endpoint status -w json": statusJSON,
		"endpoint status -w fields": at(fieldHeader, "1") + `"Version" : "3.7.1"
"StorageVersion" : "3.7.0"
"DBSize" : 20480
"DBSizeInUse" : 16384
"DBSizeQuota" : 2147483648
"Leader" : 10276657743932975437
"IsLearner" : false
"RaftIndex" : 8
"RaftTerm" : 2
"RaftAppliedIndex" : 8
"Errors" : []
"Endpoint" : "EP"
"DowngradeTargetVersion" : ""
"DowngradeEnabled" : false

`,
		"endpoint hashkv":         "EP, 1084519789, 1\n",
		"endpoint hashkv -w json": `[{"Endpoint":"EP","HashKV":{"header":` + at(header, "1") + `,"hash":1084519789,"compact_revision":-1,"hash_revision":1}}]` + "\n",
		"endpoint hashkv --rev 1 -w fields": at(fieldHeader, "1") + `"Endpoint" : "EP"
"Hash" : 1084519789
"HashRevision" : 1

`,
		"endpoint health":         "EP is healthy: successfully committed proposal: took = TOOK\n",
		"endpoint health -w json": `[{"endpoint":"EP","health":true,"took":"TOOK"}]` + "\n",
		"endpoint health -w fields": `"Endpoint" : "EP"
"Health" : true
"Took" : TOOK
"Error" : ` + "\n\n",
		"defrag":         "Finished defragmenting etcd member[EP]. took TOOK\n",
		"defrag -w json": "Finished defragmenting etcd member[EP]. took TOOK\n",
	} {
		t.Run(args, func(t *testing.T) {
			require.Equal(t, result{out: want}, steady(s, run(t, s, "", strings.Fields(args)...)))
		})
	}
	table := run(t, s, "", "endpoint", "status", "-w", "table").out
	require.Contains(t, table, "│ VERSION │ STORAGE VERSION │ DB SIZE │ IN USE │ PERCENTAGE NOT IN USE │ QUOTA  │ IS LEADER │ IS LEARNER │ RAFT TERM │ RAFT INDEX │ RAFT APPLIED INDEX │ ERRORS │ DOWNGRADE TARGET VERSION │ DOWNGRADE ENABLED │\n")
	require.Contains(t, run(t, s, "", "endpoint", "health", "-w", "table").out, "│ HEALTH │")
	require.Contains(t, run(t, s, "", "endpoint", "hashkv", "-w", "table").out, "│ HASH REVISION │")
}

func TestEndpointStatusOfAnUnusualMember(t *testing.T) {
	s := fake.Start(t)
	s.StatusResponse = &pb.StatusResponse{
		Version: "3.6.0", Leader: 1, IsLearner: true, Errors: []string{"one", "two"},
		DowngradeInfo: &pb.DowngradeInfo{Enabled: true, TargetVersion: "3.5"},
	}
	require.Equal(t, result{out: "EP, 8e9e05c52164694d, 3.6.0, , 0 B, 0 B, 0%, 0 B, false, true, 0, 0, 0, one, two, 3.5, true\n"},
		steady(s, run(t, s, "", "endpoint", "status")))
	require.Contains(t, run(t, s, "", "endpoint", "status", "-w", "fields").out, "\"Errors\" : [one two]\n")
}

func TestEndpointFailures(t *testing.T) {
	s := fake.Start(t)
	s.Hook = func(_ context.Context, m string, _ any) error { return rpctypes.ErrGRPCCorrupt }
	for args, want := range map[string]result{
		"endpoint status":           {"", "Failed to get the status of endpoint EP (etcdserver: corrupt cluster)\n", 1},
		"endpoint status -w json":   {"null\n", "Failed to get the status of endpoint EP (etcdserver: corrupt cluster)\n", 1},
		"endpoint hashkv":           {"", "Failed to get the hash of endpoint EP (etcdserver: corrupt cluster)\nError: etcdserver: corrupt cluster\n", 1},
		"endpoint health":           {"", "EP is unhealthy: failed to commit proposal: etcdserver: corrupt cluster\nError: unhealthy cluster\n", 1},
		"endpoint health -w json":   {`[{"endpoint":"EP","health":false,"took":"TOOK","error":"etcdserver: corrupt cluster"}]` + "\n", "Error: unhealthy cluster\n", 1},
		"defrag":                    {"", "Failed to defragment etcd member[EP]. took TOOK. (etcdserver: corrupt cluster)\n", 1},
		"endpoint --cluster status": {"", "Error: failed to fetch endpoints from etcd cluster member list: etcdserver: corrupt cluster\n", 1},
		"defrag --cluster":          {"", "Error: failed to fetch endpoints from etcd cluster member list: etcdserver: corrupt cluster\n", 1},
	} {
		require.Equal(t, want, steady(s, run(t, s, "", strings.Fields(args)...)), args)
	}
}

func TestEndpointHealthLooksAtAlarms(t *testing.T) {
	s := fake.Start(t)
	s.SetAlarms(&pb.AlarmMember{MemberID: 1, Alarm: pb.AlarmType_NOSPACE}, &pb.AlarmMember{MemberID: 2, Alarm: pb.AlarmType_CORRUPT}, &pb.AlarmMember{Alarm: 9})
	require.Equal(t, result{"", "EP is unhealthy: failed to commit proposal: Active Alarm(s): NOSPACE CORRUPT UNKNOWN \nError: unhealthy cluster\n", 1},
		steady(s, run(t, s, "", "endpoint", "health")))
	s.Hook = func(_ context.Context, m string, _ any) error {
		if m == "KV/Range" {
			return rpctypes.ErrGRPCPermissionDenied
		}
		return nil
	}
	s.SetAlarms()
	require.Equal(t, 0, run(t, s, "", "endpoint", "health").code, "a denied key is an answer of the cluster")
	s.Hook = func(_ context.Context, m string, _ any) error {
		if m == "Maintenance/Alarm" {
			return rpctypes.ErrGRPCCorrupt
		}
		return nil
	}
	require.Contains(t, run(t, s, "", "endpoint", "health").err, "Unable to fetch the alarm list")
}

func TestClusterFlagTakesEveryClientURL(t *testing.T) {
	a, b := fake.Start(t), fake.Start(t)
	a.SetMembers(
		&pb.Member{ID: 1, Name: "m1", ClientURLs: []string{"http://" + a.Addr, "http://" + b.Addr}},
		&pb.Member{ID: 2}, // not started
	)
	want := "http://" + a.Addr + ", 1084519789, 1\nhttp://" + b.Addr + ", 1084519789, 1\n"
	require.Equal(t, result{out: want}, run(t, a, "", "endpoint", "hashkv", "--cluster"))
	require.Equal(t, result{out: want}, runEnv(t, a, []string{"ETCDCTL_CLUSTER=true"}, "", "endpoint", "hashkv"))
	require.Contains(t, run(t, a, "", "defrag", "--cluster").out, "member[http://"+b.Addr+"]")
}

func TestSizes(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0 B", 9: "9 B", 512: "512 B", 999: "999 B", 1000: "1.0 kB", 2100: "2.1 kB", 20480: "20 kB", 16384: "16 kB",
		9999: "10 kB", 2147483648: "2.1 GB", 8 << 30: "8.6 GB", 1 << 60: "1.2 EB", -1: "0 B",
	} {
		require.Equal(t, want, size(bytes))
	}
	require.Equal(t, "0%", notInUse(0, 0))
	require.Equal(t, "20%", notInUse(20480, 16384))
	require.Equal(t, "67%", notInUse(3, 1))
}
