package jobspec

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestToInteger(t *testing.T) {
	t.Parallel()
	tests := []struct {
		given any
		want  int
		ok    bool
	}{
		{3, 3, true},
		{int64(3), 3, true},
		{3.0, 3, true},
		{json.Number("3"), 3, true},
		{json.Number("3.0"), 3, true},
		{json.Number("1e3"), 1000, true},
		{" 3 ", 3, true},
		{"3.0", 3, true},
		{"-1", -1, true},
		{3.5, 0, false},
		{1e300, 0, false},
		{json.Number("99999999999999999999"), 0, false},
		{"three", 0, false},
		{"", 0, false},
		{true, 0, false},
		{nil, 0, false},
		{[]any{3}, 0, false},
	}
	for _, tt := range tests {
		if got, ok := toInteger(tt.given); got != tt.want || ok != tt.ok {
			t.Errorf("toInteger(%#v) = %v, %v, want %v, %v", tt.given, got, ok, tt.want, tt.ok)
		}
	}
}

func TestToBoolean(t *testing.T) {
	t.Parallel()
	tests := []struct {
		given    any
		want, ok bool
	}{
		{true, true, true},
		{false, false, true},
		{"true", true, true},
		{"Yes", true, true},
		{"on", true, true},
		{"1", true, true},
		{"t", true, true},
		{"Y", true, true},
		{"FALSE", false, true},
		{"no", false, true},
		{"off", false, true},
		{"0", false, true},
		{"f", false, true},
		{"n", false, true},
		{1, true, true},
		{0.0, false, true},
		{json.Number("1"), true, true},
		{2, false, false},
		{"maybe", false, false},
		{nil, false, false},
		{[]any{}, false, false},
	}
	for _, tt := range tests {
		if got, ok := toBoolean(tt.given); ok != tt.ok || ok && got != tt.want {
			t.Errorf("toBoolean(%#v) = %v, %v, want %v, %v", tt.given, got, ok, tt.want, tt.ok)
		}
	}
}

// The wanted texts are what Python's str() gives.
func TestScalarText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		given any
		want  string
	}{
		{"x", "x"},
		{true, "True"},
		{false, "False"},
		{5, "5"},
		{int64(-5), "-5"},
		{1.0, "1.0"},
		{1.5, "1.5"},
		{0.0, "0.0"},
		{-2.25, "-2.25"},
		{0.1, "0.1"},
		{1e16, "1e+16"},
		{1.5e300, "1.5e+300"},
		{0.0001, "0.0001"},
		{0.00001, "1e-05"},
		{123456789012345680.0, "1.2345678901234568e+17"},
		{9007199254740993.0, "9007199254740992.0"},
		{json.Number("12345678901234567890"), "12345678901234567890"},
		{json.Number("1e3"), "1000.0"},
		{json.Number("2.50"), "2.5"},
	}
	for _, tt := range tests {
		if got, ok := scalarText(tt.given); !ok || got != tt.want {
			t.Errorf("scalarText(%#v) = %q, %v, want %q", tt.given, got, ok, tt.want)
		}
	}
	for _, given := range []any{nil, []any{}, vars{}, json.Number("1e999")} {
		if got, ok := scalarText(given); ok {
			t.Errorf("scalarText(%#v) = %q, want none", given, got)
		}
	}
}

func TestToTextTakesNoBoolean(t *testing.T) {
	t.Parallel()
	if got, ok := toText(true); ok {
		t.Errorf("toText(true) = %q, want none", got)
	}
	if got, _ := toText(12); got != "12" {
		t.Errorf("toText(12) = %q, want 12", got)
	}
}

func TestNearestName(t *testing.T) {
	t.Parallel()
	var known []string
	for _, v := range Variables() {
		known = append(known, v.Name)
	}
	tests := []struct{ given, want string }{
		{"credentails", "credentials"},
		{"projectid", "project_id"},
		{"Project_ID", "project_id"},
		{"deployment_external_image", "deployment_external_image_path"},
		{"billing_deployment_plans", "billing_deployment_plan"},
		{"image_path", "deployment_external_image_path"},
		{"gpu_count", "billing_gpu_count"},
		{"evn", "env"},
		{"", ""},
		{"image_pull_policy", ""},
	}
	for _, tt := range tests {
		got, ok := NearestName(tt.given, known)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("NearestName(%q) = %q, %v, want %q", tt.given, got, ok, tt.want)
		}
	}
}

func TestEditDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(tt.a, tt.b); got != tt.want {
			t.Errorf("editDistance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func ExampleNearestName() {
	near, ok := NearestName("settings_backof_limit", []string{"settings_backoff_limit", "tags"})
	fmt.Println(near, ok)
	// Output: settings_backoff_limit true
}
