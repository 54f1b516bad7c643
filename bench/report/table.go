package report

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

var heads = []string{"work", "figure", "etcd", "cairn", "ratio", "target", "ok"}

// WriteTable prints the ratios: a line per figure, a work's name on its first.
func (r *Report) WriteTable(w io.Writer) error {
	lines := r.lines()
	width := make([]int, len(heads))
	for _, l := range append([][]string{heads}, lines...) {
		for i, c := range l {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	rule := make([]string, len(heads))
	for i, n := range width {
		rule[i] = strings.Repeat("-", n)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.head())
	for _, l := range append([][]string{heads, rule}, lines...) {
		for i, c := range l {
			b.WriteString(c)
			if i < len(l)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown prints the same for a document.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.head())
	for _, l := range append([][]string{heads, strings.Split(strings.Repeat("--- ", len(heads)-1)+"---", " ")}, r.lines()...) {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(l, " | "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) head() string {
	if r.Rounds == 1 {
		return fmt.Sprintf("%s. One round.", r.Machine)
	}
	return fmt.Sprintf("%s. Medians of %d rounds, with the smallest and the largest in brackets.", r.Machine, r.Rounds)
}

func (r *Report) lines() (lines [][]string) {
	for _, row := range r.Rows {
		name := row.Work
		for _, m := range metrics {
			etcd, cairn := valuesOf(row.Etcd, m), valuesOf(row.Cairn, m)
			if len(etcd)+len(cairn) == 0 || m == Failed && etcd.Max()+cairn.Max() == 0 {
				continue
			}
			l := []string{name, string(m), cell(m, etcd), cell(m, cairn), ratio(etcd, cairn), "", ""}
			name = ""
			for _, t := range row.Targets {
				if t.Metric != m {
					continue
				}
				l[5], l[6] = t.String(), "no"
				if t.reached(etcd, cairn) {
					l[6] = "yes"
				}
			}
			lines = append(lines, l)
		}
	}
	return lines
}

func cell(m Metric, v Values) string {
	switch len(v) {
	case 0:
		return ""
	case 1:
		return m.text(v[0])
	}
	return fmt.Sprintf("%s (%s..%s)", m.text(v.Median()), m.text(v[0]), m.text(v.Max()))
}

func ratio(etcd, cairn Values) string {
	if len(etcd) == 0 || len(cairn) == 0 || etcd.Median() == 0 {
		return ""
	}
	x := cairn.Median() / etcd.Median()
	if x > 0 && x < 0.001 {
		return "< 0.001x"
	}
	return fmt.Sprintf("%.3gx", x)
}
