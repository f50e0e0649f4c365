package main

import "testing"

func TestQuantile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		values []int
		q      float64
		want   int
	}{
		{"one value", []int{7}, 0.5, 7},
		{"median of an odd number", []int{9, 1, 5}, 0.5, 5},
		{"median of an even number is the lower", []int{4, 1, 3, 2}, 0.5, 2},
		{"least", []int{3, 1, 2}, 0, 1},
		{"greatest", []int{3, 1, 2}, 1, 3},
		{"p95 of 20", []int{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.95, 19},
		{"p99 of 20", []int{20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.99, 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := quantile(tt.values, tt.q); got != tt.want {
				t.Errorf("quantile(%v, %g) = %d, want %d", tt.values, tt.q, got, tt.want)
			}
		})
	}
}
