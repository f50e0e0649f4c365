package main

import (
	"cmp"
	"math"
	"slices"
)

// quantile returns the smallest of the values that at least the share q (0 to
// 1) of them does not exceed: always one that was measured. There must be one.
func quantile[T cmp.Ordered](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func median[T cmp.Ordered](values []T) T { return quantile(values, 0.5) }
