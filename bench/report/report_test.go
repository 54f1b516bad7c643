package report

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	r := &Report{Rounds: 3, Rows: []*Row{{
		Work:    "put",
		Targets: []Target{{Throughput, TimesAtLeast, 1.6}, {CPUPerOp, TimesAtMost, 0.5}, {MaxRead, Never, 0.030}},
		Etcd:    []Sample{{Throughput: 20000, CPUPerOp: 66e-6, MaxRead: 0.1}, {Throughput: 21000, CPUPerOp: 60e-6}, {Throughput: 22000, CPUPerOp: 67e-6}},
		Cairn:   []Sample{{Throughput: 42000, CPUPerOp: 40e-6, MaxRead: 0.01}, {Throughput: 41000, CPUPerOp: 41e-6, MaxRead: 0.031}, {Throughput: 10, CPUPerOp: 38e-6}},
	}}}
	var b strings.Builder
	if err := r.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| put | throughput | 21,000/s (20,000/s..22,000/s) | 41,000/s (10/s..42,000/s) | 1.95x | >= 1.6x | yes |",
		"|  | server CPU per op | 66.0 µs (60.0 µs..67.0 µs) | 40.0 µs (38.0 µs..41.0 µs) | 0.606x | <= 0.5x | no |",
		"|  | longest read meanwhile | 100 ms | 20.5 ms (10.0 ms..31.0 ms) | 0.205x | never > 30.0 ms | no |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %s in\n%s", want, b.String())
		}
	}
	if m := r.Missed(); len(m) != 1 || m[0] != "put" {
		t.Errorf("missed %q", m)
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		m    Metric
		v    float64
		want string
	}{
		{Time, 0, "0"}, {Time, 1.5e-6, "1.50 µs"}, {Time, 0.0123, "12.3 ms"}, {Time, 123.4, "123 s"},
		{Throughput, 58.8235, "58.8/s"}, {Throughput, 1234567, "1,234,567/s"}, {Throughput, 999, "999/s"}, {Throughput, 3, "3/s"},
		{Memory, 450e6, "450.0 MB"}, {Growth, -2e6, "-2.0 MB"},
	} {
		if got := c.m.text(c.v); got != c.want {
			t.Errorf("%s %g: %q, not %q", c.m, c.v, got, c.want)
		}
	}
}

func TestThisMachine(t *testing.T) {
	m, err := ThisMachine(t.TempDir())
	if err != nil || m.Cores < 1 || m.Kernel == "" || m.Filesystem == "" {
		t.Errorf("%+v %v", m, err)
	}
}
