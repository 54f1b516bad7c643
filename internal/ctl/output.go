package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/proto"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// format is a set of output formats.
type format uint8

const (
	simple format = 1 << iota
	fields
	asJSON
	table
	protobuf

	plain = 0 // a command that prints one way and ignores --write-out
)

var formatNames = map[string]format{
	"simple": simple, "fields": fields, "json": asJSON, "table": table, "protobuf": protobuf,
}

// view is one response in the formats it has; nil stands for one it has not.
type view struct {
	simple func(*text)
	fields func(*text)
	json   any
	table  func() (header []string, rows [][]string)
	proto  proto.Message
}

// output prints views in the format the user chose. A view is written with one
// Write, so that several goroutines may print.
type output struct {
	w      io.Writer
	format format
	name   string
	hex    bool
	ascii  bool
}

// newOutput checks the chosen format against those a command has.
func (a *app) newOutput(have format) (*output, error) {
	o := &output{w: a.Stdout, name: a.flags.writeOut, hex: a.flags.hex}
	switch a.flags.tableStyle {
	case "unicode":
	case "ascii":
		o.ascii = true
	default:
		return nil, badArgs("unknown table style %q (unicode, ascii)", a.flags.tableStyle)
	}
	if have == plain {
		o.format = simple
		return o, nil
	}
	f, ok := formatNames[o.name]
	if !ok {
		return nil, fail(exitBadFeature, "unsupported output format")
	}
	if have&f == 0 {
		return nil, fail(exitBadFeature, "%s not supported as output format", o.name)
	}
	o.format = f
	return o, nil
}

// print writes one response.
func (o *output) print(v view) error {
	t := &text{hex: o.hex}
	switch o.format {
	case simple:
		v.simple(t)
	case fields:
		v.fields(t)
	case asJSON:
		b, err := json.Marshal(v.json)
		if err != nil {
			return err
		}
		t.Write(b)
		t.WriteByte('\n')
	case table:
		header, rows := v.table()
		drawTable(&t.Buffer, header, rows, o.ascii)
	case protobuf:
		b, err := proto.Marshal(v.proto)
		if err != nil {
			return err
		}
		t.Write(b)
	}
	_, err := o.w.Write(t.Bytes())
	return err
}

// text is a buffer with the phrases that simple and fields output is made of.
type text struct {
	bytes.Buffer
	hex bool
}

func (t *text) line(format string, args ...any) {
	fmt.Fprintf(t, format, args...)
	t.WriteByte('\n')
}

// raw writes a key or value on a line of its own.
func (t *text) raw(b []byte) {
	if t.hex {
		for _, c := range b {
			fmt.Fprintf(t, `\x%02x`, c)
		}
	} else {
		t.Write(b)
	}
	t.WriteByte('\n')
}

// field writes "name" : value; quoted does so for strings and bytes.
func (t *text) field(name string, value any) { t.line("%q : %v", name, value) }
func (t *text) quoted(name string, b any)    { t.line("%q : %q", name, b) }

// id and leaseID write numbers that --hex turns to hex.
func (t *text) id(name string, id uint64) {
	if t.hex {
		t.line("%q : %x", name, id)
	} else {
		t.field(name, id)
	}
}

func (t *text) leaseID(name string, id int64) {
	if t.hex {
		t.line("%q : %016x", name, uint64(id))
	} else {
		t.field(name, id)
	}
}

// header writes the block every fields output begins with.
func (t *text) header(h *pb.ResponseHeader) {
	t.id("ClusterID", h.GetClusterId())
	t.id("MemberID", h.GetMemberId())
	if h.GetRevision() > 0 {
		t.field("Revision", h.GetRevision())
	}
	t.field("RaftTerm", h.GetRaftTerm())
}

func joined(list []string) string { return strings.Join(list, ",") }

// columns writes rows with their cells joined for simple output.
func (t *text) columns(rows [][]string) {
	for _, row := range rows {
		t.line("%s", strings.Join(row, ", "))
	}
}
