package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSimulations(t *testing.T) {
	t.Parallel()
	const out = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA/300_live"}
{"Action":"output","Package":"p","Test":"TestA/300_live","Output":"    load_test.go:139: 327 requests: map[GET /x:27 POST /y:300]\n"}
{"Action":"output","Package":"p","Test":"TestA/300_live","Output":"    load_test.go:144: crashes noticed after [3.2s 1m38s]\n"}
{"Action":"pass","Package":"p","Test":"TestA/300_live","Elapsed":16.04}
{"Action":"output","Package":"p","Test":"TestA/900_live","Output":"    load_test.go:139: 1004 requests: map[]\n"}
{"Action":"fail","Package":"p","Test":"TestA/900_live","Elapsed":13.86}
{"Action":"fail","Package":"p"}
`
	got, err := parseSimulations([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	delete(got, "") // the package's own
	want := map[string]simulation{
		"TestA/300_live": {passed: true, requests: 327, crashes: []time.Duration{3200 * time.Millisecond, 98 * time.Second}},
		"TestA/900_live": {requests: 1004},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(simulation{})); diff != "" {
		t.Errorf("parseSimulations (-want +got):\n%s", diff)
	}
	for name, out := range map[string]string{
		"not JSON":        "# build failed\n",
		"not a duration":  `{"Action":"output","Test":"T","Output":"x: crashes noticed after [soon]"}`,
		"a cut last line": `{"Action":"pa`,
	} {
		if _, err := parseSimulations([]byte(out)); err == nil {
			t.Errorf("parseSimulations of what is %s: no error", name)
		}
	}
}
