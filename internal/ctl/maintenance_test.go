package ctl

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

func TestAlarm(t *testing.T) {
	full := func(s *fake.Server) {
		s.SetAlarms(&pb.AlarmMember{MemberID: fake.MemberID, Alarm: pb.AlarmType_NOSPACE})
	}
	alarms := `"alarms":[{"memberID":10276657743932975437,"alarm":1}]}` + "\n"
	try(t, []example{
		{args: "alarm list", want: result{}},
		{setup: full, args: "alarm list", want: result{out: "memberID:10276657743932975437 alarm:NOSPACE\n"}},
		{setup: full, args: "alarm list -w json", want: result{out: `{"header":` + at(header, "1") + "," + alarms}},
		{setup: full, args: "alarm list -w fields", want: result{out: at(fieldHeader, "1") + "\"MemberID\" : 10276657743932975437\n\"AlarmType\" : NOSPACE\n\n"}},
		{setup: full, args: "alarm disarm", want: result{out: "memberID:10276657743932975437 alarm:NOSPACE\n"}},
		{setup: full, args: "alarm disarm -w json", want: result{out: "{" + alarms}},
		{setup: full, args: "alarm disarm -w fields", want: result{out: "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"RaftTerm\" : 0\n\"MemberID\" : 10276657743932975437\n\"AlarmType\" : NOSPACE\n\n"}},
		{args: "alarm disarm -w json", want: result{out: "{}\n"}},
		{args: "alarm list x", want: result{err: "Error: alarm list command accepts no arguments\n", code: 128}},
		{args: "alarm disarm x", want: result{err: "Error: alarm disarm command accepts no arguments\n", code: 128}},
	})
}

func TestMoveLeaderAndDowngrade(t *testing.T) {
	follower := func(s *fake.Server) { s.StatusResponse = &pb.StatusResponse{Leader: 1} }
	head := `{"header":` + memberHead + `,"version":"3.7"}` + "\n"
	try(t, []example{
		{args: "move-leader c89feb932daef420", want: result{out: "Leadership transferred from 8e9e05c52164694d to c89feb932daef420\n"}},
		{args: "move-leader c89feb932daef420 -w json", want: result{out: "{}\n"}},
		{args: "move-leader", want: result{err: "Error: move-leader command needs 1 argument\n", code: 128}},
		{args: "move-leader x", want: result{err: "Error: strconv.ParseUint: parsing \"x\": invalid syntax\n", code: 128}},
		{args: "downgrade validate 3.6", want: result{out: "Downgrade validate success, cluster version 3.7\n"}},
		{args: "downgrade enable 3.6 -w json", want: result{out: head}},
		{args: "downgrade cancel ignored", want: result{out: "Downgrade cancel success, cluster version 3.7\n"}},
		{args: "downgrade enable 3.1", want: result{err: "Error: etcdserver: invalid downgrade target version\n", code: 1}},
		{args: "downgrade validate", want: result{err: "Error: TARGET_VERSION not provided\n", code: 128}},
		{args: "downgrade validate 3.6 3.5", want: result{err: "Error: too many arguments\n", code: 128}},
		{args: "downgrade enable ''", want: result{err: "Error: target version not provided\n", code: 128}},
	})
	s := fake.Start(t)
	follower(s)
	require.Equal(t, result{err: fmt.Sprintf("Error: no leader endpoint given at [%s]\n", s.Addr), code: 128},
		run(t, s, "", "move-leader", "1"))

	leader := fake.Start(t)
	got := run(t, nil, "", "--endpoints", s.Addr+","+leader.Addr, "move-leader", "1")
	require.Equal(t, 0, got.code, got.err)
	require.Len(t, leader.Calls("Maintenance/MoveLeader"), 1)
	require.Empty(t, s.Calls("Maintenance/MoveLeader"))
}

func TestSnapshotSave(t *testing.T) {
	s := fake.Start(t)
	s.Blob, s.BlobVersion = make([]byte, 4*512+32), "3.7.0"
	for i := range s.Blob {
		s.Blob[i] = byte(i)
	}
	path := filepath.Join(t.TempDir(), "snap.db")
	require.Equal(t, result{out: "Snapshot saved at " + path + "\nServer version 3.7.0\n"}, run(t, s, "", "snapshot", "save", path))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, s.Blob, got)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoFileExists(t, path+".part")

	s.BlobVersion = ""
	require.Equal(t, "Snapshot saved at "+path+"\n", run(t, s, "", "snapshot", "save", path, "-w", "json").out)

	cut := filepath.Join(t.TempDir(), "cut.db")
	s.Blob = s.Blob[:1000]
	require.Equal(t, result{err: "Error: sha256 checksum not found [bytes: 1000]\n", code: 5}, run(t, s, "", "snapshot", "save", cut))
	require.NoFileExists(t, cut)
	require.NoFileExists(t, cut+".part")

	s.Hook = func(context.Context, string, any) error { return rpctypes.ErrGRPCPermissionDenied }
	require.Equal(t, result{err: "Error: etcdserver: permission denied\n", code: 5}, run(t, s, "", "snapshot", "save", cut))
	require.NoFileExists(t, cut+".part")
	require.Equal(t, 5, run(t, s, "", "snapshot", "save", "/nonexistent/x").code)

	require.Equal(t, result{err: "Error: snapshot save expects one argument <filename>\n", code: 128}, run(t, s, "", "snapshot", "save"))
	require.Equal(t, result{err: "Error: snapshot must be requested to one selected node, not multiple [a:1 b:1]\n", code: 5},
		run(t, nil, "", "--endpoints", "a:1,b:1", "snapshot", "save", cut))
}
