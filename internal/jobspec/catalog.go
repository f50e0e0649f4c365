package jobspec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

// Doubt is something odd about a deployment plan or a GPU, with the next step.
// Clusters in a user's own cloud can have plans and GPUs of their own, hence it
// is never more than a doubt.
type Doubt struct {
	Variable string
	Text     string
	NextStep string
}

// PlanDoubts compares a deployment plan with those that Northflank lists. GPU
// plans are not in the list.
func PlanDoubts(plan string, listed []northflank.DeploymentPlan) []Doubt {
	const name = "billing_deployment_plan"
	ids := make([]string, len(listed))
	for i, p := range listed {
		ids[i] = p.ID
	}
	if plan == "" || slices.Contains(ids, plan) || gpuPlan.MatchString(plan) {
		return nil
	}
	return []Doubt{{
		name, fmt.Sprintf("Northflank lists no deployment plan %q", plan),
		meant(plan, ids, "correct "+name+", unless it is a plan of your own cluster"),
	}}
}

// GPUDoubts compares a GPU with those that Northflank's regions offer. Region is
// the project's, "" when it is not known; one that is not Northflank's own is not
// judged.
func GPUDoubts(want northflank.GPUConfiguration, regions []northflank.Region, region string) []Doubt {
	const typeName, countName = "billing_gpu_type", "billing_gpu_count"
	var types, offering []string
	var counts []int
	isOwn := false
	for _, r := range regions {
		isOwn = isOwn || r.ID == region
		for _, g := range r.GPUs {
			types = append(types, g.ID)
			if g.ID == want.GPUType {
				offering, counts = append(offering, r.ID), append(counts, g.Counts...)
			}
		}
	}
	if len(offering) == 0 {
		return []Doubt{{
			typeName, fmt.Sprintf("Northflank offers no GPU %q", want.GPUType),
			meant(want.GPUType, types, "correct "+typeName+", unless it is a GPU of your own cluster"),
		}}
	}
	var doubts []Doubt
	if isOwn && !slices.Contains(offering, region) {
		doubts = append(doubts, Doubt{
			typeName, fmt.Sprintf("GPU %q is not offered in the project's region %s", want.GPUType, region),
			"use a project in " + strings.Join(offering, " or ") + ", or another GPU",
		})
	}
	if len(counts) > 0 && want.GPUCount > 0 && !slices.Contains(counts, want.GPUCount) {
		slices.Sort(counts)
		doubts = append(doubts, Doubt{
			countName, fmt.Sprintf("GPU %q is not offered %d at a time", want.GPUType, want.GPUCount),
			fmt.Sprintf("set %s to one of %v", countName, slices.Compact(counts)),
		})
	}
	return doubts
}

// meant suggests the known name most like the one given, if any is like it.
func meant(name string, known []string, otherwise string) string {
	if near, ok := NearestName(name, known); ok {
		return fmt.Sprintf("did you mean %q? Otherwise %s", near, otherwise)
	}
	return otherwise
}
