package prefect

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// settingsGolden is testdata/settings.json: what Prefect and python-dotenv made
// of each case. It is written by testdata/settings.py.
type settingsGolden struct {
	Prefect  string
	Settings []struct {
		Name    string
		Environ map[string]string
		Files   map[string]string // below the working folder; home/ is the user's home
		Result  map[string]string
		Fails   bool
	}
	Dotenv []struct {
		Text   string
		Result map[string]string
	}
}

func readSettingsGolden(t *testing.T) settingsGolden {
	t.Helper()
	data, err := os.ReadFile("testdata/settings.json")
	if err != nil {
		t.Fatal(err)
	}
	var g settingsGolden
	if err := decode(data, &g); err != nil {
		t.Fatal(err)
	}
	if g.Prefect != imitatedVersion {
		t.Errorf("testdata/settings.json is of Prefect %s, want %s", g.Prefect, imitatedVersion)
	}
	return g
}

func TestDotenvAsPythonDoes(t *testing.T) {
	t.Parallel()
	for _, test := range readSettingsGolden(t).Dotenv {
		got, _ := parseDotenv(test.Text, map[string]string{"HOME_OF_TEST": "/root"})
		if diff := cmp.Diff(test.Result, got); diff != "" {
			t.Errorf("parseDotenv(%q) (-python +got):\n%s", test.Text, diff)
		}
	}
}

func TestSettingsPrecedenceAsPrefectHasIt(t *testing.T) {
	t.Parallel()
	for _, test := range readSettingsGolden(t).Settings {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			s, err := loadFrom(t, test.Files, test.Environ, "")
			if test.Fails {
				if err == nil {
					t.Fatal("LoadSettings() gave no error, want one as Prefect has")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for name, value := range s.explicit {
				got[name] = value.text
			}
			// Prefect knows its settings by name and prints booleans its own way; a
			// text that says "true" means the same to the flow run that gets it.
			delete(got, "PREFECT_NONSENSE")
			delete(got, "PREFECT_PROFILE")
			if got["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "true" {
				got["PREFECT_SERVER_EPHEMERAL_ENABLED"] = "True"
			}
			if headers := "PREFECT_CLIENT_CUSTOM_HEADERS"; got[headers] == `{"X-Team":"data"}` {
				got[headers] = `{"X-Team": "data"}`
			}
			if codes := "PREFECT_CLIENT_RETRY_EXTRA_CODES"; got[codes] == "500,404" {
				got[codes] = "404,500"
			}
			if diff := cmp.Diff(test.Result, got); diff != "" {
				t.Errorf("explicit settings (-Prefect +got):\n%s", diff)
			}
		})
	}
}

// loadFrom writes files into a folder of their own and loads settings there.
func loadFrom(t *testing.T, files, environ map[string]string, profile string) (*Settings, error) {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		target := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var entries []string
	for name, value := range environ {
		entries = append(entries, name+"="+value)
	}
	return LoadSettings(LoadOptions{Environ: entries, Dir: dir, HomeDir: filepath.Join(dir, "home"), Profile: profile})
}
