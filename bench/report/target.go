package report

import "fmt"

// Target is what one figure of a row has to reach.
type Target struct {
	Metric Metric
	Bound  Bound
	Value  float64
}

// Bound says how a target's value is meant.
type Bound string

// The bounds.
const (
	TimesAtMost  Bound = "<= x" // of the other server's median
	TimesAtLeast Bound = ">= x"
	AtMost       Bound = "<=" // in the figure's own unit, for the median
	AtLeast      Bound = ">="
	Never        Bound = "never" // no round may be over it
)

func (t Target) String() string {
	switch t.Bound {
	case TimesAtMost:
		return fmt.Sprintf("<= %gx", t.Value)
	case TimesAtLeast:
		return fmt.Sprintf(">= %gx", t.Value)
	case Never:
		return "never > " + t.Metric.text(t.Value)
	case AtLeast:
		return ">= " + t.Metric.text(t.Value)
	}
	return "<= " + t.Metric.text(t.Value)
}

// reached compares what was measured.
func (t Target) reached(etcd, cairn Values) bool {
	switch t.Bound {
	case TimesAtMost:
		return cairn.Median() <= t.Value*etcd.Median()
	case TimesAtLeast:
		return cairn.Median() >= t.Value*etcd.Median()
	case Never:
		return cairn.Max() <= t.Value
	case AtLeast:
		return cairn.Median() >= t.Value
	}
	return cairn.Median() <= t.Value
}
