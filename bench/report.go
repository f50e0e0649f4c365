package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// report is what a run found.
type report struct {
	machine  table
	versions table
	sections []section
	took     time.Duration
}

// section is the result of one measurement.
type section struct {
	title string
	text  string // what was measured, and how
	table table
	note  string // why the original has no figures, or not all; "" when it has
}

func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmark results\n\nWritten by `make bench`, which took %s; every figure was measured in that run.\n"+
		"\"Ours\" is this program, \"original\" is prefect-northflank 1.0.1 in Python.\n\n", r.took.Round(time.Second))
	b.WriteString(r.machine.markdown() + "\n" + r.versions.markdown())
	for _, s := range r.sections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n%s", s.title, s.text, s.table.markdown())
		if s.note != "" {
			fmt.Fprintf(&b, "\nThe original could not be measured: %s\n", s.note)
		}
	}
	return b.String()
}

// table is a Markdown table; the first column is words, the others are figures.
type table struct {
	head []string
	rows [][]string
}

func (t table) markdown() string {
	all := append([][]string{t.head}, t.rows...)
	widths := make([]int, len(t.head))
	for i := range widths {
		for _, row := range all {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	rule := make([]string, len(widths))
	for i, w := range widths {
		rule[i] = strings.Repeat("-", w)
	}
	var b strings.Builder
	for _, row := range slices.Insert(all, 1, rule) {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// comparison is a table of figures of both, side by side.
func comparison(rows ...[]string) table {
	return table{head: []string{"", "ours", "original", "original : ours"}, rows: rows}
}

// figure is one row of a comparison: a number that can be set in proportion.
func figure[T any, N int | int64 | float64 | time.Duration](p pair[T], label string, show func(N) string, of func(T) N) []string {
	ours := of(p.ours)
	row := []string{label, show(ours), "not measured", ""}
	if p.original != nil {
		original := of(*p.original)
		row[2], row[3] = show(original), ratio(float64(original), float64(ours))
	}
	return row
}

// words is a row of a comparison that has no proportion.
func words[T any](p pair[T], label string, of func(T) string) []string {
	row := []string{label, of(p.ours), "not measured", ""}
	if p.original != nil {
		row[2] = of(*p.original)
	}
	return row
}

func ratio(a, b float64) string {
	switch {
	case b == 0:
		return ""
	case a/b < 1:
		return fmt.Sprintf("%.2f", a/b)
	case a/b < 10:
		return fmt.Sprintf("%.1f", a/b)
	}
	return fmt.Sprintf("%.0f", a/b)
}

// showDuration shows three digits.
func showDuration(d time.Duration) string {
	value, unit := d.Seconds(), "s"
	if d < time.Second {
		value, unit = value*1000, "ms"
	}
	switch {
	case value < 10:
		return fmt.Sprintf("%.2f %s", value, unit)
	case value < 100:
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.0f %s", value, unit)
}

// showTicks shows processor time, which is counted in steps.
func showTicks(d time.Duration) string {
	if d == 0 {
		return "under " + showDuration(clockTick)
	}
	return showDuration(d)
}

// showBytes shows megabytes, of 1,000,000 bytes.
func showBytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func showCount(n int) string { return fmt.Sprint(n) }

// spread shows how far the values of a sample lie apart.
func spread(values []time.Duration) string {
	return fmt.Sprintf("%s to %s, of %d", showDuration(slices.Min(values)), showDuration(slices.Max(values)), len(values))
}
