package ctl

import (
	"context"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/cairn-kv/cairn/internal/ctl/fake"
)

const kvFields = `"Key" : "foo"
"CreateRevision" : 2
"ModRevision" : 2
"Version" : 1
"Value" : "bar"
"Lease" : 0
`

const kvJSON = `{"key":"Zm9v","create_revision":2,"mod_revision":2,"version":1,"value":"YmFy"}`

func TestGet(t *testing.T) {
	try(t, []example{
		{setup: foobar, args: "get foo", want: result{out: "foo\nbar\n"}},
		{setup: foobar, args: "get foo --print-value-only", want: result{out: "bar\n"}},
		{setup: foobar, args: "get foo --keys-only", want: result{out: "foo\n\n"}},
		{setup: foobar, args: "get foo --hex", want: result{out: "\\x66\\x6f\\x6f\n\\x62\\x61\\x72\n"}},
		{setup: foobar, args: "get foo -w json", want: result{out: `{"header":` + at(header, "2") + `,"kvs":[` + kvJSON + `],"count":1}` + "\n"}},
		{setup: foobar, args: "get foo -w fields", want: result{out: at(fieldHeader, "2") + kvFields + "\"More\" : false\n\"Count\" : 1\n"}},
		{setup: foobar, args: "get foo -w fields --count-only", want: result{out: at(fieldHeader, "2") + "\"More\" : false\n\"Count\" : 1\n"}},
		{setup: foobar, args: "get foo --count-only", want: result{out: "1\n"}},
		{setup: foobar, args: "get foo --count-only -w json", want: result{out: `{"header":` + at(header, "2") + `,"count":1}` + "\n"}},
		{args: "get foo", want: result{}},
		{args: "get foo -w json", want: result{out: `{"header":` + at(header, "1") + "}\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }, args: "get a c", want: result{out: "a\n1\nb\n2\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }, args: "get b --from-key ", want: result{out: "b\n2\nc\n3\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }, args: "get '' --prefix --limit 2", want: result{out: "a\n1\nb\n2\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }, args: "get '' --prefix --order descend --sort-by modify --limit=1", want: result{out: "c\n3\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "a=2") }, args: "get a --rev 2", want: result{out: "a\n1\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }, args: "get '' --prefix --min-mod-rev 3 --max-create-rev 3", want: result{out: "b\n2\n"}},
		{setup: func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }, args: "get '' --prefix --stream -w json --keys-only", want: result{out: `{"header":` + at(header, "4") +
			`,"kvs":[{"key":"YQ==","create_revision":2,"mod_revision":2,"version":1},{"key":"Yg==","create_revision":3,"mod_revision":3,"version":1},{"key":"Yw==","create_revision":4,"mod_revision":4,"version":1}],"count":3}` + "\n"}},
		{args: "get foo --rev 9", want: result{err: "Error: etcdserver: mvcc: required revision is a future revision\n", code: 1}},
		{args: "get ''", want: result{err: "Error: etcdserver: key is not provided\n", code: 1}},
		{args: "get", want: result{err: "Error: get command needs one argument as key and an optional argument as range_end\n", code: 128}},
		{args: "get a b --prefix", want: result{err: "Error: too many arguments, only accept one argument when `--prefix` or `--from-key` is set\n", code: 128}},
		{args: "get a --prefix --from-key", want: result{err: "Error: `--prefix` and `--from-key` cannot be set at the same time, choose one\n", code: 128}},
		{args: "get a --keys-only --count-only", want: result{err: "Error: `--keys-only` and `--count-only` cannot be set at the same time, choose one\n", code: 128}},
		{args: "get a --consistency x", want: result{err: "Error: unknown consistency flag \"x\"\n", code: 4}},
		{args: "get a --order x", want: result{err: "Error: bad sort order x\n", code: 4}},
		{args: "get a --sort-by x", want: result{err: "Error: bad sort target x\n", code: 4}},
		{args: "get a --min-create-rev 5 --max-create-rev 3", want: result{err: "Error: getMinCreateRev(=5) > getMaxCreateRev(=3)\n", code: 4}},
		{args: "get a --min-mod-rev 5 --max-mod-rev 3", want: result{err: "Error: getMinModRev(=5) > getMaxModRev(=3)\n", code: 4}},
		{args: "get a --print-value-only -w json", want: result{err: "Error: print-value-only is only for `--write-out=simple`\n", code: 128}},
		{args: "get a -w xml", want: result{err: "Error: unsupported output format\n", code: 4}},
		{args: "get a -w table", want: result{err: "Error: table not supported as output format\n", code: 4}},
	})
}

func TestGetOnTheWire(t *testing.T) {
	s := fake.Start(t)
	require.Equal(t, 0, run(t, s, "", "get", "k", "end", "ignored", "--consistency=s", "--sort-by", "value").code)
	r := s.Calls("KV/Range")[0].Req.(*pb.RangeRequest)
	require.True(t, r.Serializable)
	require.Equal(t, "end", string(r.RangeEnd))
	require.Equal(t, pb.RangeRequest_VALUE, r.SortTarget)
	require.Equal(t, pb.RangeRequest_NONE, r.SortOrder)
}

func TestProtobufBytes(t *testing.T) {
	s := fake.Start(t)
	head := "0a1a08b298eaf1948386fccd0110cdd2918bd2b881cf8e0118022002"
	require.Equal(t, head, hex.EncodeToString([]byte(run(t, s, "", "put", "foo", "bar", "-w", "protobuf").out)))
	require.Equal(t, head+"12100a03666f6f10021802200"+"12a03626172"+"2001",
		hex.EncodeToString([]byte(run(t, s, "", "get", "foo", "-w", "protobuf").out)))
}

func TestPut(t *testing.T) {
	try(t, []example{
		{args: "put foo bar", want: result{out: "OK\n"}},
		{args: "put foo bar -w json", want: result{out: `{"header":` + at(header, "2") + "}\n"}},
		{args: "put foo bar -w fields", want: result{out: at(fieldHeader, "2")}},
		{args: "put foo new --prev-kv", want: result{out: "OK\n"}},
		{setup: foobar, args: "put foo new --prev-kv", want: result{out: "OK\nfoo\nbar\n"}},
		{setup: foobar, args: "put foo new --prev-kv -w json", want: result{out: `{"header":` + at(header, "3") + `,"prev_kv":` + kvJSON + "}\n"}},
		{setup: foobar, args: "put foo new --prev-kv -w fields", want: result{out: at(fieldHeader, "3") +
			"\"PrevKey\" : \"foo\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 2\n\"PrevVersion\" : 1\n\"PrevValue\" : \"bar\"\n\"PrevLease\" : 0\n"}},
		{args: "put foo bar extra", want: result{out: "OK\n"}},
		{args: "put foo -- -1", want: result{out: "OK\n"}},
		{args: "put foo ''", want: result{out: "OK\n"}},
		{args: "put foo bar --ignore-value", want: result{err: "Error: put command needs only 1 argument when 'ignore-value' is set\n", code: 128}},
		{args: "put foo --ignore-value", want: result{err: "Error: etcdserver: key not found\n", code: 1}},
		{args: "put foo bar --lease zz", want: result{err: "Error: bad lease ID (strconv.ParseInt: parsing \"zz\": invalid syntax), expecting ID in Hex\n", code: 128}},
		{args: "put foo bar --lease 1f", want: result{err: "Error: etcdserver: requested lease not found\n", code: 1}},
		{args: "put foo bar --lease 1f --ignore-lease", want: result{err: "Error: etcdserver: lease is provided\n", code: 1}},
		{args: "put '' bar", want: result{err: "Error: etcdserver: key is not provided\n", code: 1}},
		{args: "put foo", want: result{err: "Error: put command needs 1 argument and input from stdin or 2 arguments\n", code: 128}},
		{args: "put", want: result{err: "Error: put command needs 1 argument and input from stdin or 2 arguments\n", code: 128}},
	})
}

func TestPutTakesStdinToTheLastByte(t *testing.T) {
	s := fake.Start(t)
	require.Equal(t, "OK\n", run(t, s, "a\x00b\n\n", "put", "k").out)
	require.Equal(t, "a\x00b\n\n", string(s.Calls("KV/Put")[0].Req.(*pb.PutRequest).Value))
	require.Equal(t, "k\na\x00b\n\n\n", run(t, s, "", "get", "k").out)
	require.Equal(t, 1, run(t, s, "", "put", "k", "-1").code, "a value with a dash follows --")
}

func TestDel(t *testing.T) {
	warning := "Warning: Keys between \"a\" and \"c\" will be deleted. Please interrupt the command within next 2 seconds to cancel. You can provide `--range` flag to avoid the delay.\n"
	abc := func(s *fake.Server) { s.Set("a=1", "b=2", "c=3") }
	try(t, []example{
		{setup: foobar, args: "del foo", want: result{out: "1\n"}},
		{args: "del foo", want: result{out: "0\n"}},
		{args: "del foo -w json", want: result{out: `{"header":` + at(header, "1") + "}\n"}},
		{setup: foobar, args: "del foo --prev-kv", want: result{out: "1\nfoo\nbar\n"}},
		{setup: foobar, args: "del foo --prev-kv -w json", want: result{out: `{"header":` + at(header, "3") + `,"deleted":1,"prev_kvs":[` + kvJSON + "]}\n"}},
		{setup: foobar, args: "del foo -w fields", want: result{out: at(fieldHeader, "3") + "\"Deleted\" : 1\n"}},
		{setup: abc, args: "del a c", want: result{out: "2\n", err: warning}},
		{setup: abc, args: "del a c --range", want: result{out: "2\n"}},
		{setup: abc, args: "del '' --prefix", want: result{out: "3\n"}},
		{setup: abc, args: "del b --from-key", want: result{out: "2\n"}},
		{setup: abc, args: "del a --range", want: result{out: "1\n"}},
		{args: "del", want: result{err: "Error: del command needs one argument as key and an optional argument as range_end\n", code: 128}},
		{args: "del a b c", want: result{err: "Error: del command needs one argument as key and an optional argument as range_end\n", code: 128}},
		{args: "del a b --prefix", want: result{err: "Error: too many arguments, only accept one argument when `--prefix` or `--from-key` is set\n", code: 128}},
		{args: "del a --prefix --from-key", want: result{err: "Error: `--prefix` and `--from-key` cannot be set at the same time, choose one\n", code: 128}},
	})
}

func TestTxn(t *testing.T) {
	inner := `{"revision":3}`
	try(t, []example{
		{name: "failure branch", args: "txn", stdin: "mod(\"k\") > \"0\"\n\nput k new\nget k\n\nput k created\n\n", want: result{out: "FAILURE\n\nOK\n"}},
		{name: "end of input closes the sections", setup: foobar, args: "txn", stdin: "val(\"foo\") = \"bar\"\n\nget foo", want: result{out: "SUCCESS\n\nfoo\nbar\n"}},
		{name: "no guards", args: "txn", stdin: "\n\n\n", want: result{out: "SUCCESS\n"}},
		{name: "nothing", args: "txn", want: result{out: "SUCCESS\n"}},
		{name: "interactive", args: "txn -i", stdin: "\n\n\n", want: result{out: "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\nSUCCESS\n"}},
		{name: "json", setup: foobar, args: "txn -w json", stdin: "\nput k v\nget foo\ndel foo\n", want: result{out: `{"header":` + at(header, "3") +
			`,"succeeded":true,"responses":[{"Response":{"response_put":{"header":` + inner + `}}},{"Response":{"response_range":{"header":` + inner + `,"kvs":[` + kvJSON + `],"count":1}}},{"Response":{"response_delete_range":{"header":` + inner + `,"deleted":1}}}]}` + "\n"}},
		{name: "json of a failure", args: "txn -w json", stdin: "ver(\"k\") > \"0\"\n\n\n", want: result{out: `{"header":` + at(header, "1") + "}\n"}},
		{name: "fields", args: "txn -w fields", stdin: "\nput k v\n", want: result{out: at(fieldHeader, "2") + "\"Succeeded\" : true\n" +
			"\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 2\n\"RaftTerm\" : 0\n"}},
		{name: "prefix of a command, flags and quoting", args: "txn", stdin: "\np \"a b\" 'c \"d'\ng \"a b\" --print-value-only=false\n", want: result{out: "SUCCESS\n\nOK\n\na b\nc \"d\n"}},
		{name: "unmarked range", setup: foobar, args: "txn", stdin: "\ndel a z\n", want: result{out: "SUCCESS\n\n1\n",
			err: "Warning: Keys between \"a\" and \"z\" will be deleted. Please interrupt the command within next 2 seconds to cancel. You can provide `--range` flag to avoid the delay.\n"}},
		{name: "argument", args: "txn x", want: result{err: "Error: txn command does not accept argument\n", code: 128}},
		{name: "one word", args: "txn", stdin: "\nput\n", want: result{err: "Error: invalid txn compare request: put\n", code: 3}},
		{name: "unknown request", args: "txn", stdin: "\nfrob k\n", want: result{err: "Error: invalid txn request: frob k\n", code: 3}},
		{name: "unknown flag", args: "txn", stdin: "\nget k --frob\n", want: result{err: "Error: invalid txn request: get k --frob\n", code: 3}},
		{name: "put without value", args: "txn", stdin: "\nput k\nput l m\n", want: result{err: "Error: put command needs a value here\n", code: 3}},
		{name: "argument error keeps its code", args: "txn", stdin: "\nget k --order x\n", want: result{err: "Error: bad sort order x\n", code: 4}},
		{name: "broken quoting", args: "txn", stdin: "\nput k \"v\n", want: result{err: "Error: broken quoting in \"\\\"v\"\n", code: 3}},
	})
}

func TestCompareGrammar(t *testing.T) {
	for line, want := range map[string]string{
		`ver("k") = "1"`:                   `key:"k"  version:1`,
		`version("k") != "1"`:              `result:NOT_EQUAL  key:"k"  version:1`,
		`c("k") < "1"`:                     `result:LESS  target:CREATE  key:"k"  create_revision:1`,
		`create("k") > "1"`:                `result:GREATER  target:CREATE  key:"k"  create_revision:1`,
		`m("k") = "0"`:                     `target:MOD  key:"k"  mod_revision:0`,
		`mod("k")   =   "-3"`:              `target:MOD  key:"k"  mod_revision:-3`,
		`val("k\x00\"") = "v"`:             `target:VALUE  key:"k\x00\""  value:"v"`,
		"value(`k\\n`)= `v`":               `target:VALUE  key:"k\\n"  value:"v"`,
		`lease("k") = "694d7550"`:          `target:LEASE  key:"k"  lease:1766683984`,
		`val("a(b)") = "c = \"d\""`:        `target:VALUE  key:"a(b)"  value:"c = \"d\""`,
		`frob("k") = "1"`:                  `malformed comparison: frob("k") = "1" (unknown target frob)`,
		`ver(k) = "1"`:                     `malformed comparison: ver(k) = "1"`,
		`ver("k" ) = "1"`:                  `malformed comparison: ver("k" ) = "1"`,
		`ver("k") ="1"`:                    `malformed comparison: ver("k") ="1"`,
		`ver("k") = 1`:                     `malformed comparison: ver("k") = 1`,
		`ver("k") = "1" x`:                 `malformed comparison: ver("k") = "1" x`,
		`ver "k" = "1"`:                    `malformed comparison: ver "k" = "1"`,
		`ver("k") == "1"`:                  `invalid txn compare request: ver("k") == "1"`,
		`ver("k") = "x"`:                   `invalid txn compare request: ver("k") = "x"`,
		`lease("k") = "xyz"`:               `invalid txn compare request: lease("k") = "xyz"`,
		`mod("k") = "9999999999999999999"`: `invalid txn compare request: mod("k") = "9999999999999999999"`,
	} {
		c, err := parseCompare(line)
		if err != nil {
			require.Equal(t, want, err.Error(), line)
			require.Equal(t, exitInvalidInput, err.(*exitError).code, line)
			continue
		}
		// The text form of protobuf varies its blanks on purpose.
		require.Equal(t, squeeze(want), squeeze(c.GetCompare().String()), line)
	}
}

func squeeze(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if s[i] == ' ' && i > 0 && s[i-1] == ' ' {
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                       nil,
		"  a\tb  ":               {"a", "b"},
		`"a b" 'c "d' e"f`:       {"a b", `c "d`, `e"f`},
		`"\x00\t\"" ''`:          {"\x00\t\"", ""},
		`put k --lease="1" -- x`: {"put", "k", `--lease="1"`, "--", "x"},
	} {
		got, err := splitWords(line)
		require.NoError(t, err, line)
		require.Equal(t, want, got, line)
	}
	for _, line := range []string{`"a`, `'a`, `"a"b`, `'a'b`, `"\q"`} {
		_, err := splitWords(line)
		require.Error(t, err, line)
	}
}

func FuzzParseTxnLines(f *testing.F) {
	for _, seed := range []string{`mod("k") > "0"`, `put k "v"`, `get --prefix ''`, "del a b --range", "lease(`x`) = \"1\"", `put "\`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if c, err := parseCompare(line); err == nil && len(c.GetCompare().GetKey()) > len(line) {
			t.Errorf("the key %q is longer than its line", c.GetCompare().GetKey())
		}
		a := &app{Program: &Program{Stderr: newSyncBuffer(), sleep: noSleep}}
		_, _ = a.parseRequest(context.Background(), line)
		_, _ = parseWatchLine([]string{line})
	})
}

func TestCompaction(t *testing.T) {
	two := func(s *fake.Server) { s.Set("a=1", "a=2") }
	try(t, []example{
		{setup: two, args: "compaction 3 --physical", want: result{out: "compacted revision 3\n"}},
		{setup: two, args: "compaction 3 -w json", want: result{out: "compacted revision 3\n"}},
		{setup: two, args: "compaction 9", want: result{err: "Error: etcdserver: mvcc: required revision is a future revision\n", code: 1}},
		{setup: two, args: "compaction -- -1", want: result{err: "Error: etcdserver: mvcc: required revision has been compacted\n", code: 1}},
		{args: "compaction", want: result{err: "Error: compaction command needs 1 argument\n", code: 128}},
		{args: "compaction x", want: result{err: "Error: strconv.ParseInt: parsing \"x\": invalid syntax\n", code: 1}},
	})
}
