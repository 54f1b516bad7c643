package report

import (
	"fmt"
	"strconv"
)

// Metric is one kind of figure. Times are in seconds and memory in bytes.
type Metric string

// The figures in the order in which a row shows them.
const (
	Throughput Metric = "throughput"
	Time       Metric = "time"
	Mean       Metric = "latency, mean"
	P50        Metric = "latency, p50"
	P99        Metric = "latency, p99"
	MaxRead    Metric = "longest read meanwhile"
	MaxWrite   Metric = "longest write meanwhile"
	Failed     Metric = "failed meanwhile"
	CPUPerOp   Metric = "server CPU per op"
	Extra      Metric = "server CPU per op, more than plain"
	Kept       Metric = "throughput, share of plain"
	CPU        Metric = "server CPU"
	Memory     Metric = "resident"
	Growth     Metric = "resident, growth"
	Size       Metric = "size"
)

var metrics = []Metric{Throughput, Time, Mean, P50, P99, MaxRead, MaxWrite, Failed, CPUPerOp, Extra, Kept, CPU, Memory, Growth, Size}

// text is a value with its unit.
func (m Metric) text(v float64) string {
	switch m {
	case Throughput:
		return thousands(v) + "/s"
	case Failed:
		return thousands(v)
	case Kept:
		return digits(v)
	case Memory, Growth, Size:
		return fmt.Sprintf("%.1f MB", v/1e6)
	}
	return seconds(v)
}

func seconds(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 1e-3:
		return digits(v*1e6) + " µs"
	case v < 1:
		return digits(v*1e3) + " ms"
	}
	return digits(v) + " s"
}

// digits keeps three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func thousands(v float64) string {
	if v < 100 {
		return strconv.FormatFloat(v, 'f', -1, 64)[:min(4, len(strconv.FormatFloat(v, 'f', -1, 64)))]
	}
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
