package jobspec

import (
	"encoding/json"
	"testing"

	"github.com/northflank/prefect-northflank/internal/hostile"
)

// Any names give a valid job name, another one for another flow run, and a
// description whose mark says whose the job is.
func FuzzJobName(f *testing.F) { fuzzJobName(f) }

func fuzzJobName(f hostile.F) {
	f.Add("brave-otter", "0199c0de-1", "0199c0de-2", "my-pool", "worker 1", "Nightly")
	f.Add("", "", "x", "", "", "")
	f.Add("a_b.c#d", "1", "2", "Pool/%", "NorthflankWorker 6f1c", "{{ x }} <é>")
	f.Add("ſK\u0130", "\x00", "\xff", "-", "--", "[prefect-northflank")
	f.Fuzz(func(t *testing.T, name, id, otherID, pool, worker, description string) {
		build := func(id string, scope Scope) Spec {
			in := inputOf(valid(vars{"job_scope": string(scope), "description": description}))
			in.PoolName, in.PoolID, in.WorkerName = pool, pool, worker
			in.FlowRun, in.Deployment = Named{id, name}, Named{id, name}
			in.Values["env"] = vars{ // these are checked elsewhere, and may hold ${
				"PREFECT__FLOW_RUN_ID": "", "PREFECT__WORKER_NAME": "", "PREFECT__DEPLOYMENT_ID": "", "PREFECT__DEPLOYMENT_NAME": "",
			}
			return mustBuild(t, in)
		}
		for _, scope := range []Scope{ScopePool, ScopeDeployment, ScopeFlowRun} {
			spec := build(id, scope)
			for _, job := range []struct{ name, description string }{
				{spec.Job.Name, spec.Job.Description},
				{spec.JobNamed(98).Name, spec.JobNamed(98).Description},
			} {
				if len(job.name) < 3 || len(job.name) > 52 || !docName.MatchString(job.name) {
					t.Errorf("name %q is refused by Northflank", job.name)
				}
				if len(job.description) > 200 || !docDescription.MatchString(job.description) {
					t.Errorf("description %q is refused by Northflank", job.description)
				}
				mark, ok := ParseJobMark(job.name, job.description)
				if !ok || !mark.OfPool(pool) || !mark.OfWorker(worker) || mark.Scope != scope {
					t.Errorf("mark of %q = %+v, %v", job.description, mark, ok)
				}
			}
			if scope != ScopePool && id != otherID && spec.Job.Name == build(otherID, scope).Job.Name {
				t.Errorf("scope %s: %q and %q have the same job %q", scope, id, otherID, spec.Job.Name)
			}
		}
	})
}

// Any values of two job variables beside a valid rest are either refused or
// give requests that Northflank's patterns take; nothing panics.
func FuzzBuild(f *testing.F) { fuzzBuild(f) }

func fuzzBuild(f hostile.F) {
	f.Add("name", "5", "env", `{"A":[1]}`)
	f.Add("tags", `["a",null]`, "labels", `{"a":1.5}`)
	f.Add("deployment_external_image_path", "a/b@sha256:abc", "description", "é")
	f.Add("deployment_external_image_path", "  ", "billing_deployment_plan", "\t")
	f.Add("deployment_internal_id", "svc", "deployment_internal_build_sha", "LATEST")
	f.Add("billing_gpu_enabled", "yes", "billing_gpu_type", "l4-24")
	f.Add("runtime_files", `{"/a":true}`, "runtime_environment", `{"A":"${B}"}`)
	f.Add("credentials", `{"api_token":"x","base_url":"http://[::1"}`, "settings_backoff_limit", "1e3")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		for _, asJSON := range []bool{false, true} {
			values := valid(nil)
			values[name1], values[name2] = fuzzValue(value1, asJSON), fuzzValue(value2, asJSON)
			checkBuild(t, Input{Values: values, PoolName: "pool", PoolID: "1", WorkerName: "w", FlowRun: Named{"1", "x"}})
		}
	})
}

// fuzzValue is a text, or what it means as JSON.
func fuzzValue(text string, asJSON bool) any {
	var v any
	if asJSON && json.Unmarshal([]byte(text), &v) == nil {
		return v
	}
	return text
}

func checkBuild(t *testing.T, in Input) {
	t.Helper()
	spec, _, err := Build(in)
	if err != nil {
		if err.Error() == "" {
			t.Error("an error without words")
		}
		return
	}
	if !docName.MatchString(spec.Job.Name) || len(spec.Job.Name) > 52 {
		t.Errorf("name %q is refused by Northflank", spec.Job.Name)
	}
	if !docDescription.MatchString(spec.Job.Description) || len(spec.Job.Description) > 200 {
		t.Errorf("description %q is refused by Northflank", spec.Job.Description)
	}
	if image := spec.Run.Deployment.External; image != nil && !docImage.MatchString(image.ImagePath) {
		t.Errorf("image %q is refused by Northflank", image.ImagePath)
	}
	if (spec.Run.Deployment.External == nil) == (spec.Run.Deployment.Internal == nil) {
		t.Error("not exactly one of external and internal")
	}
	if (spec.Run.Deployment.Docker == nil) == (spec.Run.Deployment.Buildpack == nil) {
		t.Error("not exactly one of docker and buildpack")
	}
	if spec.Account.Token.IsZero() || spec.ProjectID == "" || spec.Run.Billing.DeploymentPlan == "" {
		t.Errorf("incomplete: %+v", spec)
	}
	if _, _, err := spec.Requests(); err != nil {
		t.Error(err)
	}
}

// FuzzUpgradeTemplate: no stored template makes it panic, what comes out is JSON,
// and an upgraded one needs no upgrade.
func FuzzUpgradeTemplate(f *testing.F) { fuzzUpgradeTemplate(f) }

func fuzzUpgradeTemplate(f hostile.F) {
	f.Add([]byte(BaseJobTemplate()))
	for _, text := range []string{
		`{"job_configuration":{"a":"{{ a }}"},"variables":{"properties":{"a":{"type":"string"}}}}`, `{"variables":{"definitions":{"x":5},"properties":[]}}`,
		`{"variables":{"properties":{"credentials":{"allOf":[{"$ref":"#/definitions/Northflank"}]}}},"job_configuration":{}}`, `{"a":1,"a":2}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, stored []byte) {
		once, changes, err := UpgradeTemplate(stored)
		if err != nil {
			return
		}
		if !json.Valid(once) {
			t.Fatalf("%s is upgraded to %s (%v)", stored, once, changes)
		}
		if twice, changes, err := UpgradeTemplate(once); err != nil || len(changes) > 0 {
			t.Errorf("%s needs another upgrade to %s: %v %v", once, twice, changes, err)
		}
	})
}
