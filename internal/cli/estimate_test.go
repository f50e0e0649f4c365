package cli

import "testing"

func TestMoney(t *testing.T) {
	t.Parallel()
	for dollars, want := range map[float64]string{
		0: "$0.00", 1234.567: "$1234.57", 0.01: "$0.01", 0.00994: "$0.0099", 0.00875: "$0.0088", 0.0000000001: "$0.000000000",
	} {
		if got := money(dollars); got != want {
			t.Errorf("money(%g) = %q, want %q", dollars, got, want)
		}
	}
}

func TestLasting(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0.04: "0.0s", 4.25: "4.2s", 61.9: "1m1s", 90000: "1d1h"} {
		if got := lasting(seconds); got != want {
			t.Errorf("lasting(%g) = %q, want %q", seconds, got, want)
		}
	}
}

func TestPrice(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		amount   *float64
		currency string
		want     string
	}{
		{nil, "usd", "-"}, {new(0.0), "usd", "$0.00"}, {new(0.0075), "USD", "$0.0075"}, {new(12.0), "eur", "12.00 EUR"}, {new(1.5), "", "$1.50"},
	} {
		if got := price(tt.amount, tt.currency); got != tt.want {
			t.Errorf("price(%v, %q) = %q, want %q", tt.amount, tt.currency, got, tt.want)
		}
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	for mb, want := range map[float64]string{0: "-", 512: "512 MB", 1024: "1 GB", 1536: "1536 MB", 40960: "40 GB"} {
		if got := memory(mb); got != want {
			t.Errorf("memory(%g) = %q, want %q", mb, got, want)
		}
	}
}
