package main

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestSpreadMoments(t *testing.T) {
	t.Parallel()
	const part = dispatchWindow / dispatches
	for i, moment := range spreadMoments(rand.New(rand.NewPCG(3, 4))) {
		if first, end := time.Duration(i)*part, time.Duration(i+1)*part; moment < first || moment >= end {
			t.Errorf("moment %d = %s, want one in [%s, %s)", i, moment, first, end)
		}
	}
}
