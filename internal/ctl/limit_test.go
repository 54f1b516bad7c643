package ctl

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

func withLimits(t *testing.T) func(*fake.Server) {
	return func(s *fake.Server) {
		require.Zero(t, run(t, s, "", "limit", "set", "--for-user", "ann", "--reads-per-second", "5", "--read-burst", "9").code)
		require.Zero(t, run(t, s, "", "limit", "set", "--prefix", "app/", "--max-keys", "10").code)
		require.Zero(t, run(t, s, "", "limit", "set", "--prefix", "app/", "--max-keys", "10", "--max-bytes", "100").code)
	}
}

func TestLimit(t *testing.T) {
	setup := withLimits(t)
	const ann, app = `{"kind":"user","name":"YW5u","readsPerSecond":5,"readBurst":9,"keys":0,"bytes":0}`, `{"kind":"prefix","name":"YXBwLw==","maxKeys":10,"maxBytes":100,"keys":3,"bytes":30}`
	try(t, []example{
		{args: "limit list", want: result{}},
		{args: "limit set --prefix app/ --max-keys 10", want: result{out: "Limit of prefix \"app/\" set\n"}},
		{args: "limit set --prefix '' --writes-per-second 10 --write-burst 20 -w json",
			want: result{out: `{"kind":"prefix","name":"","writesPerSecond":10,"writeBurst":20}` + "\n"}},
		{args: "limit set --for-user ann --reads-per-second 10 -w fields", want: result{out: "\"Kind\" : user\n\"Name\" : \"ann\"\n\"WritesPerSecond\" : 0\n" +
			"\"WriteBurst\" : 0\n\"ReadsPerSecond\" : 10\n\"ReadBurst\" : 0\n\"MaxKeys\" : 0\n\"MaxBytes\" : 0\n"}},
		{setup: setup, args: "limit list", want: result{out: "user, \"ann\", -, -, 5, 9, -, -, -, -\nprefix, \"app/\", -, -, -, -, 3, 10, 30, 100\n"}},
		{setup: setup, args: "limit list -w json", want: result{out: `{"limits":[` + ann + "," + app + "]}\n"}},
		{setup: setup, args: "limit list -w table --table-style ascii", want: result{out: `+--------+--------+----------+-------------+---------+------------+------+----------+-------+-----------+
|  KIND  |  NAME  | WRITES/S | WRITE BURST | READS/S | READ BURST | KEYS | MAX KEYS | BYTES | MAX BYTES |
+--------+--------+----------+-------------+---------+------------+------+----------+-------+-----------+
|   user |  "ann" |        - |           - |       5 |          9 |    - |        - |     - |         - |
| prefix | "app/" |        - |           - |       - |          - |    3 |       10 |    30 |       100 |
+--------+--------+----------+-------------+---------+------------+------+----------+-------+-----------+
`}},
		{setup: setup, args: "limit remove --prefix app/", want: result{out: "Limit of prefix \"app/\" removed\n"}},
		{args: "limit remove --prefix app/", want: result{err: "Error: rpc error: code = NotFound desc = cairn: there is no limit for it\n", code: 1}},
		{args: "limit set --max-keys 1", want: result{err: "Error: limit set needs either --for-user or --prefix\n", code: 128}},
		{args: "limit remove --for-user a --prefix b", want: result{err: "Error: limit remove needs either --for-user or --prefix\n", code: 128}},
		{args: "limit set --for-user ''", want: result{err: "Error: the name of the user is empty\n", code: 128}},
		{args: "limit set x", want: result{err: "Error: limit set takes no arguments\n", code: 128}},
		{args: "limit list x", want: result{err: "Error: limit list takes no arguments\n", code: 128}},
		{args: "limit remove x", want: result{err: "Error: limit remove takes no arguments\n", code: 128}},
	})
	// What is sent is what the server takes: no field that only an answer has.
	s := fake.Start(t)
	setup(s)
	sent := s.Calls("/cairn.Limits/Set")
	require.Equal(t, map[string]any{"kind": "prefix", "name": "YXBwLw==", "maxKeys": 10., "maxBytes": 100.}, sent[len(sent)-1].Req.(*structpb.Struct).AsMap())
}
