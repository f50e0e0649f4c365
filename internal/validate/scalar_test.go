package validate

import (
	"fmt"
	"testing"
)

// What PyYAML 6 makes of a scalar without quotes.
func TestPlainScalar(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, want string
	}{
		{"", "<nil> <nil>"},
		{"~", "<nil> <nil>"},
		{"Null", "<nil> <nil>"},
		{"nULL", "string nULL"},
		{"yes", "bool true"},
		{"Off", "bool false"},
		{"y", "string y"},
		{"tRue", "string tRue"},
		{"12", "int 12"},
		{"-1_000", "int -1000"},
		{"+3", "int 3"},
		{"010", "int 8"},
		{"0o10", "string 0o10"},
		{"08", "string 08"},
		{"0x1F", "int 31"},
		{"-0b101", "int -5"},
		{"1:30", "int 90"},
		{"1:00:00", "int 3600"},
		{"00:10:00", "string 00:10:00"},
		{"1:60", "string 1:60"},
		{"99999999999999999999", "float64 1e+20"},
		{"1.5", "float64 1.5"},
		{"-.5", "string -.5"},
		{".5", "float64 0.5"},
		{"1e3", "string 1e3"},
		{"1.5e+3", "int 1500"},
		{"1.5e3", "string 1.5e3"},
		{"-.inf", "float64 -Inf"},
		{".nan", "float64 NaN"},
		{"1:30.5", "float64 90.5"},
		{"2026-01-01", "string 2026-01-01"},
		{"3.12.1", "string 3.12.1"},
		{"nf-compute-50", "string nf-compute-50"},
	}
	for _, tt := range tests {
		got := fmt.Sprintf("%T %v", plainScalar(tt.text), plainScalar(tt.text))
		if got != tt.want {
			t.Errorf("plainScalar(%q) = %s, want %s", tt.text, got, tt.want)
		}
	}
}
