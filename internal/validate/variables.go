package validate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/secret"
)

// variables are the job variables of one deployment.
type variables struct {
	*checker
	d        *deployment
	resolver *resolver
	pool     prefect.WorkPool // without a name when it is not known
	values   map[string]any   // as prefect deploy stores them
	// unsure are those for which something else stands in, that works: their
	// values are not known here, or were objected to already.
	unsure map[string]bool
}

// The job variables that are looked up.
const (
	varCredentials      = "credentials"
	varCredentialsBlock = "credentials_block"
)

func (v *variables) known() bool { return v.pool.Name != "" }

// topOf is the job variable that a key is of: env of env.FOO.
func topOf(key string) string {
	top, _, _ := strings.Cut(key, ".")
	return top
}

func (v *variables) check(ctx context.Context) {
	if v.d.variables != nil {
		for _, m := range v.d.variables.object.members {
			v.read(ctx, m)
		}
	}
	resolved := v.resolve(ctx)
	if resolved == nil {
		return
	}
	v.judge(resolved)
	v.catalog(ctx, resolved.Values)
}

// read takes in one job variable as prefect deploy would store it, and checks
// the type that the Prefect server wants.
func (v *variables) read(ctx context.Context, m member) {
	top := topOf(m.key)
	row, isOurs := jobspec.Lookup(top)
	v.checkSecrets(m, top)
	content, fate := v.convert(ctx, m.value, top)
	switch {
	case fate != known: // what is dropped was objected to
		v.unsure[top] = true
		content = standIn(row, top != m.key)
	case isOurs && !v.checkType(row, m, content):
		v.unsure[top] = true
		content = standIn(row, top != m.key)
	}
	v.values[m.key] = content
}

// standInText takes the place of a text that is not known here. It fits where
// names and ids do, and stands in no message.
const standInText = "stand-in"

// standIn is a value that works, for one that is not known.
func standIn(row jobspec.Variable, part bool) any {
	switch {
	case part:
		return standInText
	case row.Type == jobspec.TypeBoolean:
		return false
	case row.Type == jobspec.TypeInteger && row.Default != nil:
		return row.Default
	case row.Type == jobspec.TypeInteger:
		return max(row.Min, 1)
	case row.Type == jobspec.TypeTextList:
		return []any{}
	case row.Type == jobspec.TypeTextMap || row.Type == jobspec.TypeEnvironment:
		return map[string]any{}
	case row.Type == jobspec.TypeCredentials:
		return map[string]any{"api_token": standInText}
	case len(row.OneOf) > 0:
		return row.OneOf[0]
	case row.Example != "":
		return row.Example
	}
	return standInText
}

// convert makes JSON of what stands in the file. Of an object, items whose value
// is not known get one that stands in; variable is the job variable that it is in.
func (v *variables) convert(ctx context.Context, in *value, variable string) (any, fate) {
	switch {
	case in.object != nil:
		out := map[string]any{}
		for _, m := range in.object.members {
			switch item, fate := v.convert(ctx, m.value, variable); fate {
			case known:
				out[m.key] = item
			case unknown:
				out[m.key] = standInText
			}
		}
		return out, known
	case in.list != nil:
		out := []any{}
		for _, item := range in.list {
			converted, fate := v.convert(ctx, item, variable)
			if fate == unknown {
				return nil, unknown
			}
			if fate == known {
				out = append(out, converted)
			}
		}
		return out, known
	}
	if _, isText := in.text(); isText {
		return v.resolver.text(ctx, in, variable)
	}
	return in.scalar, known
}

// resolve puts the job variables into the pool's template. A fault that keeps it
// from being done is noted and taken out, and it is tried again.
func (v *variables) resolve(ctx context.Context) *prefect.Configuration {
	lookup := v.lookup()
	for range len(v.values) + 1 {
		config, err := prefect.BuildConfiguration(ctx, lookup, prefect.ConfigurationInput{Template: template(v.pool), Deployment: v.values})
		if err == nil {
			v.secrets = append(v.secrets, config.Secrets...)
			v.readCredentials(ctx, config)
			return config
		}
		fault, wrong := errors.AsType[*prefect.ConfigurationError](err)
		if !wrong {
			return nil // Prefect does not answer, which is noted
		}
		at, inFile := v.place(fault.Key, false)
		if where, ok := v.placeholderIn(fault.Cause); ok {
			at = where
		}
		code := Code(jobspec.KindValue)
		if strings.Contains(fault.Cause, "prefect.blocks.") {
			code = Code(jobspec.KindBlock)
		}
		v.findings.about(fault.Key, Error, code, at, fault.Cause, fault.NextStep)
		before := len(v.values)
		maps.DeleteFunc(v.values, func(key string, _ any) bool { return topOf(key) == fault.Key })
		v.unsure[fault.Key] = true
		if !inFile || len(v.values) == before {
			return nil // the pool's own fault
		}
	}
	return nil
}

// placeholderIn is where the placeholder stands that an error speaks of.
func (v *variables) placeholderIn(cause string) (at Span, ok bool) {
	if v.d.variables == nil {
		return Span{}, false
	}
	v.d.variables.texts(func(in *value, text string) {
		for _, p := range prefect.FindPlaceholders(text) {
			if !ok && strings.Contains(cause, "{{ "+p.Name+" }}") {
				at, ok = v.source.find(in, p.Text), true
			}
		}
	})
	return at, ok
}

// lookup reads blocks and variables for [prefect.BuildConfiguration]. What the
// file names was looked for before; a block of the pool's that is gone is noted.
func (v *variables) lookup() prefect.Lookup {
	w := v.world
	block := func(ctx context.Context, what string, read func() (map[string]any, error)) (map[string]any, error) {
		if w.prefect != nil {
			return map[string]any{"api_token": standInText}, nil
		}
		data, err := read()
		switch {
		case errors.Is(err, prefect.ErrNotFound):
			v.findings.add(Error, Code(jobspec.KindBlock), v.d.variablesAt, fmt.Sprintf("work pool %q refers to block %s, which does not exist", v.pool.Name, what), "create it, or correct the work pool's base job template")
		case err != nil:
			w.answered(err)
		default:
			return data, nil
		}
		return map[string]any{"api_token": standInText}, nil
	}
	return prefect.Lookup{
		Block: func(ctx context.Context, slug, name string) (map[string]any, error) {
			return block(ctx, slug+"/"+name, func() (map[string]any, error) { return w.lookups.Prefect.Block(ctx, slug, name) })
		},
		BlockByID: func(ctx context.Context, id string) (map[string]any, error) {
			return block(ctx, id, func() (map[string]any, error) { return w.lookups.Prefect.BlockByID(ctx, id) })
		},
		Variable: func(ctx context.Context, name string) (any, bool, error) {
			content, exists, _ := w.variable(ctx, name)
			return content, exists, nil
		},
		Env: func(string) string { return standInText }, // the worker's, which is another machine's
	}
}

// readCredentials puts the block that credentials_block names in the place of
// credentials, as a worker does.
func (v *variables) readCredentials(ctx context.Context, config *prefect.Configuration) {
	name, _ := config.Values[varCredentialsBlock].(string)
	if name == "" {
		return
	}
	config.Values[varCredentials] = map[string]any{"api_token": standInText}
	if v.unsure[varCredentialsBlock] {
		return
	}
	exists, asked := v.world.hasBlock(ctx, jobspec.BlockTypeSlug, name)
	if !asked || exists {
		return
	}
	next := "create it with: prefect-northflank credentials save " + name
	if near, ok := jobspec.NearestName(name, v.world.blockNames(ctx, jobspec.BlockTypeSlug)); ok {
		next = fmt.Sprintf("did you mean %q? Otherwise %s", near, next)
	}
	at, _ := v.place(varCredentialsBlock, false)
	v.findings.about(varCredentialsBlock, Error, Code(jobspec.KindBlock), at, fmt.Sprintf("there is no Northflank block %q", name), next)
}

var anyone = jobspec.Named{ID: "id", Name: "name"}

// judge lets the worker's own rules say what is wrong.
func (v *variables) judge(config *prefect.Configuration) {
	origins := make(map[string]jobspec.Origin, len(config.Origins))
	for name, o := range config.Origins {
		origins[name] = jobspec.Origin(o)
	}
	in := jobspec.Input{
		Values: config.Values, Origins: origins, Unknown: config.Unknown, Unused: config.Unused, Secrets: v.secrets,
		PoolName: v.pool.Name, PoolID: v.pool.ID, FlowRun: anyone, Flow: anyone, Deployment: anyone,
	}
	if v.world.lookups.Token || !v.known() { // whose pool is not known may have credentials
		in.Account.Token = secret.New(standInText)
	}
	_, warnings, err := jobspec.Build(in)
	if invalid, ok := errors.AsType[*jobspec.InvalidError](err); ok {
		for _, p := range invalid.Problems {
			v.problem(p)
		}
	}
	for _, w := range warnings {
		v.warning(w)
	}
}

// doubtful reports whether a finding rests on a value that is not known.
func (v *variables) doubtful(variable string, kind jobspec.Kind) bool {
	top := topOf(variable)
	switch kind {
	case jobspec.KindUnknown, jobspec.KindNotInPool, jobspec.KindNoEffect:
		return false // whatever the value is
	case jobspec.KindMissing, jobspec.KindContradiction:
		row, _ := jobspec.Lookup(top)
		return v.unsure[top] && len(row.OneOf) > 0
	case jobspec.KindGPU:
		for name := range v.unsure {
			if strings.HasPrefix(name, "billing_") {
				return true
			}
		}
	}
	return v.unsure[top]
}

func (v *variables) problem(p jobspec.Problem) {
	if v.doubtful(p.Variable, p.Kind) {
		return
	}
	about := p.Kind == jobspec.KindMissing || p.Kind == jobspec.KindContradiction
	at, inFile := v.place(p.Variable, about)
	severity, cause, next := Error, p.Cause, p.NextStep
	switch {
	case p.Kind == jobspec.KindMissing && p.Variable == "project_id" && !v.known():
		severity, cause, next = Note, "is not set here", "set it, unless the work pool does, which was not asked"
	case p.Kind == jobspec.KindMissing && p.Variable == varCredentials && !inFile:
		severity = Warning
	case !inFile && p.Origin.Source == jobspec.FromPoolDefault:
		cause += " (" + p.Origin.Source + ")"
	}
	name := p.Variable
	if inFile && p.Value != "" {
		name += " " + p.Value
	}
	v.findings.add(severity, Code(p.Kind), at, fmt.Sprintf("job variable %s: %s", name, cause), next).JobVariable = p.Variable
}

func (v *variables) warning(w jobspec.Warning) {
	onKey := w.Kind == jobspec.KindUnknown || w.Kind == jobspec.KindNotInPool || w.Kind == jobspec.KindNoEffect
	at, inFile := v.place(w.Variable, onKey)
	if !inFile || v.doubtful(w.Variable, w.Kind) { // what the pool sets is doctor's to look at
		return
	}
	cause, next, _ := strings.Cut(w.Text, "; ")
	severity := Warning
	switch w.Kind {
	case jobspec.KindNotInPool:
		severity = Error
	case jobspec.KindUnknown:
		severity, next = v.unknown(w.Variable, next)
	}
	v.findings.about(w.Variable, severity, Code(w.Kind), at, cause, next)
}

// unknown says what to do about a job variable that does not exist, by what the
// pool has and what Northflank calls things.
func (v *variables) unknown(name, next string) (Severity, string) {
	if flat, ok := v.flat(name); ok {
		return Error, "write it as " + flat
	}
	var pool struct {
		Variables struct{ Properties map[string]any }
	}
	if json.Unmarshal(template(v.pool), &pool) == nil {
		if near, ok := jobspec.NearestName(name, sortedKeys(pool.Variables.Properties)); ok {
			return Error, fmt.Sprintf("did you mean %s?", near)
		}
	}
	if !v.known() {
		return Warning, "remove it, unless the work pool has a job variable of that name, which was not asked"
	}
	return Error, next
}

// flat is the job variable that stands for what the file writes as Northflank's
// API has it, nested or with dots: deployment.external.imagePath.
func (v *variables) flat(top string) (string, bool) {
	for _, m := range v.d.variables.object.members {
		path, at := m.key, m.value
		for at.object != nil && len(at.object.members) == 1 {
			path, at = path+"."+at.object.members[0].key, at.object.members[0].value
		}
		for _, row := range jobspec.Variables() {
			if topOf(m.key) == top && strings.Contains(path, ".") && row.Place == path {
				return row.Name, true
			}
		}
	}
	return "", false
}

// place is where a job variable stands, or a part of it such as env.FOO: its
// value, or its key. What is not in the file would stand below job_variables.
func (v *variables) place(variable string, key bool) (at Span, inFile bool) {
	span := func(m member) Span {
		if key || m.value.object != nil || m.value.list != nil {
			return m.keyAt
		}
		return m.value.at
	}
	if v.d.variables == nil {
		return v.d.variablesAt, false
	}
	if m, ok := v.d.variables.object.get(variable); ok {
		return span(m), true
	}
	top, rest, _ := strings.Cut(variable, ".")
	if m, ok := v.d.variables.object.get(top); ok {
		if inner, ok := m.value.object.get(rest); ok {
			return span(inner), true
		}
		return m.keyAt, true
	}
	for _, m := range v.d.variables.object.members { // deployment of deployment.external.imagePath
		if topOf(m.key) == top {
			return m.keyAt, true
		}
	}
	return v.d.variablesAt, false
}

// catalog holds deployment plan and GPU against what Northflank offers.
func (v *variables) catalog(ctx context.Context, values map[string]any) {
	const planName, typeName = "billing_deployment_plan", "billing_gpu_type"
	if v.world.northflank != nil {
		return
	}
	plan, _ := values[planName].(string)
	if row, _ := jobspec.Lookup(planName); row.Pattern.MatchString(plan) && !v.unsure[planName] {
		plans, err := v.world.listedPlans(ctx)
		if err != nil {
			return
		}
		v.doubts(jobspec.PlanDoubts(plan, plans), CodePlan)
	}
	spec, ok := billing(values)
	if !ok || v.unsure[typeName] || spec.Job.Billing.GPU == nil {
		return
	}
	regions, err := v.world.listedRegions(ctx)
	if err != nil {
		return
	}
	v.doubts(jobspec.GPUDoubts(*spec.Job.Billing.GPU.Configuration, regions, ""), CodeGPU)
}

func (v *variables) doubts(doubts []jobspec.Doubt, code Code) {
	for _, d := range doubts {
		at, _ := v.place(d.Variable, false)
		v.findings.about(d.Variable, Warning, code, at, d.Text, d.NextStep)
	}
}

// billing builds a flow run of the variables about plan and GPU alone, so that
// what is wrong with others does not matter.
func billing(values map[string]any) (jobspec.Spec, bool) {
	some := map[string]any{"project_id": "any-project"}
	for _, name := range []string{"billing_deployment_plan", "billing_gpu_enabled", "billing_gpu_type", "billing_gpu_count"} {
		if value, ok := values[name]; ok {
			some[name] = value
		}
	}
	spec, _, err := jobspec.Build(jobspec.Input{
		Values: some, Account: jobspec.Account{Token: secret.New(standInText)}, FlowRun: anyone, Flow: anyone,
	})
	return spec, err == nil
}
