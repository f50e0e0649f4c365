package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/prefect"
	"github.com/northflank/prefect-northflank/internal/starter"
	"github.com/northflank/prefect-northflank/internal/worker"
)

const initHelp = `Makes a folder with flows ready for Northflank: finds the flows, without running
them, writes a prefect.yaml that deploys them, and creates the work pool and the
credentials block that they need, where there are none. It asks for what no flag
says, shows what it will do, and asks before it does it. What exists is not changed.

Containers get the flows' code from the folder's repository (--code git), from the
image (--code image), or from this folder (--code local), which a local Northflank
alone can see. Without a terminal nothing is asked, and a new block takes its token
from NORTHFLANK_API_TOKEN.

Examples:
  prefect-northflank init
  prefect-northflank init --pool my-pool --project my-project --credentials northflank-creds
  prefect-northflank init --flow etl.py:nightly --code image --image ghcr.io/me/flows:1.0`

const (
	projectFile       = "prefect.yaml"
	initDeployment    = "northflank"       // name of each deployment
	initPlan          = "nf-compute-50"    // 1 GB; the default's 512 MB are tight for Prefect
	initDirectory     = "/opt/app"         // of the code in an image, as in our examples
	initCredentials   = "northflank-creds" // name of a new block
	initImage         = "prefecthq/prefect:3-python3.12"
	maxShownProjects  = 20
	maxListedProjects = 100 // one request
)

func initCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "init",
		Usage:       "write a prefect.yaml for the flows in this folder, with work pool and credentials",
		Description: initHelp,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "flow", Usage: "deploy `FILE:FUNCTION` alone; repeatable (default: all that are found)"},
			poolFlag("work `POOL`, which is created if there is none of that name"),
			&cli.StringFlag{Name: "project", Usage: "`ID` of the Northflank project"},
			&cli.StringFlag{Name: "credentials", Usage: "credentials `BLOCK`, which is saved if there is none of that name"},
			&cli.StringFlag{Name: "code", Usage: "`PLACE` of the flows' code: git, image or local"},
			&cli.StringFlag{Name: "image", Usage: "`IMAGE` of the containers (default: " + initImage + ")", HideDefault: true},
			&cli.StringFlag{Name: "directory", Usage: "`FOLDER` of the code in the image, for --code image", Value: initDirectory},
			&cli.StringFlag{Name: "plan", Usage: "deployment `PLAN` of the containers", Value: initPlan},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "take what would be suggested, without asking"},
			profileFlag(),
		},
		Action: func(ctx context.Context, cmd *cli.Command) error { return initProject(ctx, cmd, io) },
	}
}

// projectSetup is what init has found out and been told.
type projectSetup struct {
	ask    *asker
	client *prefect.Client
	file   starter.Plan

	poolIsNew  bool
	create     newPool
	credential credential
}

func initProject(ctx context.Context, cmd *cli.Command, io Streams) error {
	if err := checkInit(cmd); err != nil {
		return err
	}
	flows, err := flowsToDeploy(cmd, io)
	if err != nil {
		return err
	}
	client, settings, err := connect(cmd, io)
	if err != nil {
		return err
	}
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	p := &projectSetup{ask: newAsker(io, cmd.Bool("yes")), client: client, file: starter.Plan{
		Project: filepath.Base(folder), Flows: flows, Deployment: initDeployment,
	}}
	if err := p.decide(ctx, cmd, io); err != nil {
		return err
	}
	p.show(io)
	if err := p.ask.goOn(); err != nil {
		return err
	}
	if err := p.carryOut(ctx, io); err != nil {
		return err
	}
	p.tellNext(io)
	if warning := worker.UnreachableAPI(settings.APIURL, p.credential.account.BaseURL); warning != "" {
		warn(io, errors.New(warning))
	}
	return nil
}

// entrypoint is how Prefect names a function of a file.
var entrypoint = regexp.MustCompile(`^[^:]+\.py:[^:\s]+$`)

func checkInit(cmd *cli.Command) error {
	if err := noArguments(cmd); err != nil {
		return err
	}
	if _, err := os.Lstat(projectFile); err == nil {
		return hinted{
			fmt.Errorf("there is a %s in this folder already", projectFile),
			"add deployments to it by hand (see docs/reference/job-variables.md), or move it away first",
		}
	}
	if err := checkProject(cmd.String("project")); err != nil {
		return err
	}
	if name := cmd.String("credentials"); name != "" && !blockName.MatchString(name) {
		return badBlockName(name)
	}
	switch starter.Code(cmd.String("code")) {
	case "", starter.CodeGit, starter.CodeImage, starter.CodeLocal:
	default:
		return usagef("use git, image or local", "--code %q is unknown", cmd.String("code"))
	}
	if image := cmd.String("image"); image != "" {
		return checkImage(image)
	}
	return nil
}

// flowsToDeploy are those that --flow names, or all that the folder holds.
func flowsToDeploy(cmd *cli.Command, io Streams) ([]starter.Flow, error) {
	waitingFor(io.Err, "looking for flows")
	found, complete, err := starter.FindFlows(os.DirFS("."))
	if err != nil {
		return nil, err
	}
	named := cmd.StringSlice("flow")
	if len(named) == 0 {
		if !complete {
			return nil, hinted{errors.New("this folder is too large to be searched for flows"), "name them: --flow FILE:FUNCTION"}
		}
		if len(found) == 0 {
			return nil, hinted{
				errors.New("there is no flow in this folder: no function at the top level of a .py file that is decorated with @flow"),
				"go to the folder of your flows, or name one: --flow FILE:FUNCTION",
			}
		}
		return found, nil
	}
	var flows []starter.Flow
	for _, word := range named {
		word = filepath.ToSlash(word)
		file, _, _ := strings.Cut(word, ":")
		if !entrypoint.MatchString(word) {
			return nil, usagef("for example --flow etl.py:nightly", "--flow %q names no file and function", word)
		}
		if _, err := os.Stat(file); err != nil {
			return nil, hinted{fmt.Errorf("--flow %s: %w", word, err), "paths are relative to this folder"}
		}
		flow := starter.Flow{Entrypoint: word}
		for _, f := range found {
			if f.Entrypoint == word {
				flow = f
			}
		}
		flows = append(flows, flow)
	}
	return flows, nil
}

// show says what will be done.
func (p *projectSetup) show(io Streams) {
	fmt.Fprintln(io.Err, "Flows:")
	for _, f := range p.file.Flows {
		fmt.Fprintf(io.Err, "  %s\n", plain(f.Entrypoint))
	}
	fmt.Fprintln(io.Err, "This will")
	if p.credential.isNew {
		fmt.Fprintf(io.Err, "  - save the API token as credentials block %q\n", p.credential.block)
	}
	if p.poolIsNew {
		with := []string{}
		if p.create.project != "" {
			with = append(with, "project "+p.create.project)
		}
		if p.create.block != "" {
			with = append(with, "credentials block "+p.create.block)
		}
		fmt.Fprintf(io.Err, "  - create work pool %q with %s\n", p.file.Pool, strings.Join(with, " and "))
	}
	fmt.Fprintf(io.Err, "  - write %s, for work pool %q\n", projectFile, p.file.Pool)
}

// carryOut does it. What is done already when something goes wrong is whole, and
// found as it is when init is called again; the file comes last.
func (p *projectSetup) carryOut(ctx context.Context, io Streams) error {
	ctx, stop := stopOnSignal(ctx)
	defer stop()
	waitingFor(io.Err, "setting up Prefect")
	if p.credential.isNew {
		if _, err := p.client.SaveBlock(ctx, northflankBlock(), p.credential.block, p.credential.data()); err != nil {
			return err
		}
		fmt.Fprintf(io.Out, "Saved credentials block %q.\n", p.credential.block)
	}
	if p.poolIsNew {
		err := createWorkPool(ctx, p.client, p.file.Pool, p.create)
		if errors.Is(err, prefect.ErrConflict) {
			return hinted{fmt.Errorf("work pool %q was created meanwhile", p.file.Pool), "run init again: it uses the pool as it is"}
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(io.Out, "Created work pool %q of type %s.\n", p.file.Pool, worker.Type)
	}
	if ctx.Err() != nil {
		return context.Canceled
	}
	if err := writeNewFile(projectFile, p.file.File()); err != nil {
		return err
	}
	fmt.Fprintf(io.Out, "Wrote %s.\n", projectFile)
	return nil
}

func (p *projectSetup) tellNext(io Streams) {
	fmt.Fprintf(io.Out, "\nNext, in another shell, start a worker:\n  prefect-northflank worker start --pool %s\nThen deploy and run:\n  prefect deploy --all\n", p.file.Pool)
	flow := "FLOW"
	for _, f := range p.file.Flows {
		if f.Name != "" {
			flow = f.Name
			break
		}
	}
	quoted := strings.ReplaceAll(plain(flow), "'", `'\''`) // for a shell
	fmt.Fprintf(io.Out, "  prefect deployment run '%s/%s'\n", quoted, p.file.Deployment)
}
