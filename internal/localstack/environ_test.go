package localstack

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCleanEnviron(t *testing.T) {
	t.Parallel()
	got := cleanEnviron([]string{
		"HOME=/home/u", "PREFECT_API_URL=https://api.prefect.cloud", "prefect_api_key=k", "NORTHFLANK_API_TOKEN=t",
		"PYTHONPATH=/lib", "PYTHON=/opt/python3", "VIRTUAL_ENV=/venv", "PIP_INDEX_URL=https://pypi.example", "MY_PREFECT_X=kept",
	})
	want := []string{"HOME=/home/u", "PIP_INDEX_URL=https://pypi.example", "MY_PREFECT_X=kept"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("cleanEnviron (-want +got):\n%s", diff)
	}
}

func TestWithValues(t *testing.T) {
	t.Parallel()
	before := []string{"A=1", "B=2", "C=3"}
	got := withValues(before, map[string]string{"B": "new", "D": "4"})
	if diff := cmp.Diff([]string{"A=1", "C=3", "B=new", "D=4"}, got); diff != "" {
		t.Errorf("withValues (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"A=1", "B=2", "C=3"}, before); diff != "" {
		t.Errorf("withValues changed its argument (-want +got):\n%s", diff)
	}
	if got := lookup(got, "B"); got != "new" {
		t.Errorf("lookup(B) = %q, want new", got)
	}
}
