package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Sample is what one round measured of one server.
type Sample map[Metric]float64

// Row is one work with the samples of both servers, one of each per round.
type Row struct {
	Work    string   `json:"work"`
	Targets []Target `json:"targets"`
	Etcd    []Sample `json:"etcd"`
	Cairn   []Sample `json:"cairn"`
}

// Report is one run.
type Report struct {
	Machine Machine `json:"machine"`
	Rounds  int     `json:"rounds"`
	Keys    int     `json:"keys"` // of the rows that say so
	Rows    []*Row  `json:"rows"`
}

// WriteJSON writes everything, each sample too.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Missed are the works of which a target was not reached.
func (r *Report) Missed() (works []string) {
	for _, row := range r.Rows {
		if slices.ContainsFunc(row.Targets, func(t Target) bool {
			return !t.reached(valuesOf(row.Etcd, t.Metric), valuesOf(row.Cairn, t.Metric))
		}) {
			works = append(works, row.Work)
		}
	}
	return works
}

// Values are one figure over the rounds, in ascending order.
type Values []float64

func valuesOf(samples []Sample, m Metric) (v Values) {
	for _, s := range samples {
		if x, ok := s[m]; ok {
			v = append(v, x)
		}
	}
	slices.Sort(v)
	return v
}

// Median is the value in the middle.
func (v Values) Median() float64 {
	if len(v) == 0 {
		return 0
	}
	if n := len(v) / 2; len(v)%2 == 0 {
		return (v[n-1] + v[n]) / 2
	}
	return v[len(v)/2]
}

// Max is the largest value.
func (v Values) Max() float64 {
	if len(v) == 0 {
		return 0
	}
	return v[len(v)-1]
}

// String shows the figures of a sample in the order of a row.
func (s Sample) String() string {
	var b strings.Builder
	for _, m := range metrics {
		if v, ok := s[m]; ok {
			fmt.Fprintf(&b, ", %s %s", m, m.text(v))
		}
	}
	return strings.TrimPrefix(b.String(), ", ")
}
