package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/jobspec"
	"github.com/northflank/prefect-northflank/internal/northflank"
	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/starter"
	"github.com/northflank/prefect-northflank/internal/worker"
)

// decide finds out, from flags, what exists and the user, all that is needed.
func (p *projectSetup) decide(ctx context.Context, cmd *cli.Command, io Streams) error {
	pool, err := p.decidePool(ctx, cmd)
	if err != nil {
		return err
	}
	variables := &p.file.Variables
	p.credential.account = environmentAccount() // where the pool has its own, the best guess
	if p.poolIsNew || cmd.IsSet("credentials") || !setInPool(pool, "credentials", "credentials_block") {
		if p.credential, err = p.decideCredential(ctx, cmd, io); err != nil {
			return err
		}
		if p.poolIsNew {
			p.create.block = p.credential.block
		} else {
			*variables = append(*variables, starter.Variable{Name: "credentials_block", Value: p.credential.block})
		}
	}
	if p.poolIsNew || cmd.IsSet("project") || !setInPool(pool, "project_id") {
		id, err := p.decideProject(ctx, cmd, io)
		if err != nil {
			return err
		}
		if p.poolIsNew {
			p.create.project = id
		} else {
			*variables = append(*variables, starter.Variable{Name: "project_id", Value: id})
		}
	}
	if err := p.decideCode(cmd); err != nil {
		return err
	}
	image, err := p.decideImage(cmd)
	if err != nil {
		return err
	}
	plan := cmd.String("plan")
	if v, _ := jobspec.Lookup("billing_deployment_plan"); !v.Pattern.MatchString(plan) {
		return usagef("for example --plan "+initPlan, "--plan %q: it must be %s", plan, v.Constraint)
	}
	*variables = append(*variables,
		starter.Variable{Name: "deployment_external_image_path", Value: image}, starter.Variable{Name: "billing_deployment_plan", Value: plan})
	return nil
}

// decidePool chooses the work pool, and reads it if it exists.
func (p *projectSetup) decidePool(ctx context.Context, cmd *cli.Command) (prefect.WorkPool, error) {
	name := cmd.String("pool")
	if name == "" {
		pools, err := p.client.WorkPools(ctx)
		if err != nil {
			return prefect.WorkPool{}, err
		}
		pools = slices.DeleteFunc(pools, func(p prefect.WorkPool) bool { return p.Type != worker.Type })
		suggested := "my-pool"
		if len(pools) == 1 {
			suggested = pools[0].Name
		}
		if name, err = p.ask.text("Work pool", suggested, "--pool"); err != nil {
			return prefect.WorkPool{}, err
		}
	}
	p.file.Pool = name
	pool, err := p.client.WorkPool(ctx, name)
	if errors.Is(err, prefect.ErrNotFound) {
		p.poolIsNew = true
		return pool, nil
	}
	if err != nil {
		return pool, err
	}
	return pool, checkPoolType(pool)
}

// setInPool reports whether a pool gives flow runs one of the job variables.
func setInPool(pool prefect.WorkPool, names ...string) bool {
	var template struct {
		Variables struct {
			Properties map[string]struct{ Default json.RawMessage }
		}
	}
	if json.Unmarshal(pool.BaseJobTemplate, &template) != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool {
		value := string(template.Variables.Properties[name].Default)
		return value != "" && value != "null" && value != `""`
	})
}

// credential is whose Northflank account flow runs use.
type credential struct {
	block   string
	isNew   bool
	account jobspec.Account
}

// data is what a new block holds.
func (c credential) data() map[string]any {
	data := map[string]any{"api_token": c.account.Token.Reveal(), "base_url": c.account.BaseURL}
	if c.account.TeamID != "" {
		data["team_id"] = c.account.TeamID
	}
	return data
}

func (p *projectSetup) decideCredential(ctx context.Context, cmd *cli.Command, io Streams) (credential, error) {
	saved, err := savedCredentials(ctx, p.client)
	if err != nil {
		return credential{}, err
	}
	c := credential{block: cmd.String("credentials")}
	if c.block == "" {
		suggested := initCredentials
		if names := slices.Sorted(maps.Keys(saved)); len(names) > 0 && !slices.Contains(names, suggested) {
			suggested = names[0]
		}
		if c.block, err = p.ask.text("Credentials block", suggested, "--credentials"); err != nil {
			return c, err
		}
		if !blockName.MatchString(c.block) {
			return c, badBlockName(c.block)
		}
	}
	if _, exists := saved[c.block]; exists {
		c.account, err = accountOf(ctx, p.client, c.block)
		return c, err
	}
	c.isNew = true
	c.account = environmentAccount()
	if c.account.BaseURL == "" {
		c.account.BaseURL = northflank.DefaultBaseURL
	}
	if _, err := northflankClient(c.account); err != nil {
		return c, badAccount("", err)
	}
	switch {
	case !c.account.Token.IsZero():
		return c, checkToken(c.account.Token.Reveal())
	case !p.ask.terminal:
		return c, hinted{
			fmt.Errorf("there is no Northflank credentials block %q, and no API token to save", c.block),
			"set NORTHFLANK_API_TOKEN, or save one first: prefect-northflank credentials save " + c.block,
		}
	}
	c.account.Token, err = readToken(ctx, io)
	return c, err
}

// decideProject chooses among the projects that the token reaches.
func (p *projectSetup) decideProject(ctx context.Context, cmd *cli.Command, io Streams) (string, error) {
	if id := cmd.String("project"); id != "" {
		return id, nil
	}
	if p.credential.account.Token.IsZero() { // the pool has its own
		return p.ask.project("")
	}
	client, err := northflankClient(p.credential.account)
	if err != nil {
		return "", badAccount(p.credential.block, err)
	}
	waitingFor(io.Err, "listing projects")
	var ids []string
	for listed, err := range client.ListProjects(ctx) {
		if errors.Is(err, northflank.ErrForbidden) { // its role need not allow that
			break
		}
		if err != nil {
			return "", err
		}
		if ids = append(ids, listed.ID); len(ids) == maxListedProjects {
			break
		}
	}
	if len(ids) == 1 {
		return p.ask.project(ids[0])
	}
	if len(ids) > 1 && p.ask.asks() {
		more := ""
		if len(ids) > maxShownProjects {
			ids, more = ids[:maxShownProjects], " ..."
		}
		fmt.Fprintf(io.Err, "Projects: %s%s\n", plain(strings.Join(ids, ", ")), more)
	}
	return p.ask.project("")
}

// decideCode chooses where containers get the code from.
func (p *projectSetup) decideCode(cmd *cli.Command) error {
	repository, branch := gitOrigin(os.DirFS("."))
	p.file.Code = starter.Code(cmd.String("code"))
	if p.file.Code == "" {
		suggested := starter.CodeImage
		switch {
		case onThisMachine(p.credential.account.BaseURL):
			suggested = starter.CodeLocal
		case repository != "" && !cmd.IsSet("directory"):
			suggested = starter.CodeGit
		}
		word, err := p.ask.text("Where containers get the code from: git, image or local", string(suggested), "--code")
		if err != nil {
			return err
		}
		p.file.Code = starter.Code(word)
	}
	switch p.file.Code {
	case starter.CodeLocal:
	case starter.CodeImage:
		p.file.Directory = cmd.String("directory")
	case starter.CodeGit:
		if p.file.Repository, p.file.Branch = repository, branch; repository == "" {
			return hinted{
				errors.New("this folder is not the top of a git repository with a remote named origin"),
				"go to its top, or put the code into an image: --code image",
			}
		}
	default:
		return usagef("use git, image or local", "code from %q: no such place", p.file.Code)
	}
	return nil
}

func (p *projectSetup) decideImage(cmd *cli.Command) (string, error) {
	image := cmd.String("image")
	switch {
	case image != "":
		return image, nil
	case p.file.Code != starter.CodeImage:
		return initImage, nil
	}
	image, err := p.ask.text("Image with the flows' code and Prefect", "", "--image")
	if err != nil {
		return "", err
	}
	return image, checkImage(image)
}

func checkImage(image string) error {
	if v, _ := jobspec.Lookup("deployment_external_image_path"); v.Pattern != nil && !v.Pattern.MatchString(image) {
		return usagef("for example ghcr.io/me/flows:1.0", "image %q: it must be %s", image, v.Constraint)
	}
	return nil
}
