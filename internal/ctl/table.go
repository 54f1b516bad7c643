package ctl

import (
	"bytes"
	"strings"

	"github.com/mattn/go-runewidth"
)

// borders are the strokes of a table: horizontal and vertical, then the corners
// and crossings of the top, middle and bottom line from left to right.
type borders struct {
	h, v                string
	top, middle, bottom [3]string
}

var (
	unicodeBorders = borders{"─", "│", [3]string{"┌", "┬", "┐"}, [3]string{"├", "┼", "┤"}, [3]string{"└", "┴", "┘"}}
	asciiBorders   = borders{"-", "|", [3]string{"+", "+", "+"}, [3]string{"+", "+", "+"}, [3]string{"+", "+", "+"}}
)

// drawTable writes a table: titles in capitals and centred, cells to the right.
func drawTable(b *bytes.Buffer, header []string, rows [][]string, ascii bool) {
	style := unicodeBorders
	if ascii {
		style = asciiBorders
	}
	titles := make([]string, len(header))
	widths := make([]int, len(header))
	for i, h := range header {
		titles[i] = strings.ToUpper(strings.NewReplacer("_", " ", ".", " ").Replace(h))
		widths[i] = runewidth.StringWidth(titles[i])
	}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	rule := func(ends [3]string) {
		for i, w := range widths {
			if i == 0 {
				b.WriteString(ends[0])
			} else {
				b.WriteString(ends[1])
			}
			b.WriteString(strings.Repeat(style.h, w+2))
		}
		b.WriteString(ends[2] + "\n")
	}
	line := func(cells []string, centre bool) {
		for i, cell := range cells {
			gap := widths[i] - runewidth.StringWidth(cell)
			left := gap
			if centre {
				left = gap / 2
			}
			b.WriteString(style.v + strings.Repeat(" ", left+1) + cell + strings.Repeat(" ", gap-left+1))
		}
		b.WriteString(style.v + "\n")
	}
	rule(style.top)
	line(titles, true)
	rule(style.middle)
	for _, row := range rows {
		line(row, false)
	}
	rule(style.bottom)
}
