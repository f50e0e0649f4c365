package cli

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/northflank/prefect-northflank/internal/northflank"
)

const plansHelp = `Lists Northflank's deployment plans: what billing_deployment_plan takes. They are
public, so no token is needed; an account may have others of its own. A GPU has
plans of another kind: see prefect-northflank gpus.

Examples:
  prefect-northflank plans
  prefect-northflank plans --output json`

func plansCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "plans",
		Usage:       "list deployment plans with memory and price",
		Description: plansHelp,
		Flags:       []cli.Flag{accountFlag(), outputFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return listPlans(ctx, cmd, io) },
	}
}

// listedPlan is one deployment plan as it is shown.
type listedPlan struct {
	ID            string   `json:"id"`
	CPU           float64  `json:"cpu"`
	MemoryMB      float64  `json:"memory_mb"`
	PricePerHour  *float64 `json:"price_per_hour"` // null: not told
	PricePerMonth *float64 `json:"price_per_month"`
	Currency      string   `json:"currency"`
}

func listPlans(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, client, err := forCatalog(ctx, cmd, io)
	if err != nil {
		return err
	}
	plans, err := client.Plans(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(plans, func(a, b northflank.DeploymentPlan) int {
		return cmp.Or(cmp.Compare(a.CPU, b.CPU), cmp.Compare(a.MemoryMB, b.MemoryMB))
	})
	list := []listedPlan{}
	rows := [][]string{{"PLAN", "CPU", "MEMORY", "PRICE/HOUR", "PRICE/MONTH"}}
	for _, p := range plans {
		list = append(list, listedPlan{p.ID, p.CPU, p.MemoryMB, p.PricePerHour, p.PricePerMonth, strings.ToUpper(p.Currency)})
		rows = append(rows, []string{plain(p.ID), number(p.CPU), memory(p.MemoryMB), price(p.PricePerHour, p.Currency), price(p.PricePerMonth, p.Currency)})
	}
	if asJSON {
		return printJSON(io.Out, list)
	}
	return printTable(io.Out, rows...)
}

const gpusHelp = `Lists the GPUs that Northflank's regions offer: what billing_gpu_type takes, with
the counts that billing_gpu_count may have. The deployment plan of a GPU is
nf-gpu-GPU-COUNTg, such as nf-gpu-h100-80-1g, and the project must be in a region
that has it. Prices are those of one GPU. No token is needed.

Examples:
  prefect-northflank gpus
  prefect-northflank gpus --output json`

func gpusCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "gpus",
		Usage:       "list GPUs with memory, price and regions",
		Description: gpusHelp,
		Flags:       []cli.Flag{accountFlag(), outputFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return listGPUs(ctx, cmd, io) },
	}
}

// listedGPU is one GPU as it is shown, with the regions that offer it alike.
type listedGPU struct {
	ID           string   `json:"id"`
	Name         string   `json:"name"`
	Manufacturer string   `json:"manufacturer,omitempty"`
	MemoryMiB    float64  `json:"memory_mib"`
	Counts       []int    `json:"counts"`
	PricePerHour *float64 `json:"price_per_hour"` // of one, in US dollars; null: not told
	Regions      []string `json:"regions"`
}

func listGPUs(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, client, err := forCatalog(ctx, cmd, io)
	if err != nil {
		return err
	}
	regions, err := client.Regions(ctx)
	if err != nil {
		return err
	}
	list := gpusOf(regions)
	if asJSON {
		return printJSON(io.Out, list)
	}
	rows := [][]string{{"GPU", "NAME", "MEMORY", "COUNTS", "PRICE/HOUR", "REGIONS"}}
	for _, g := range list {
		rows = append(rows, []string{
			plain(g.ID), plain(g.Name), memory(g.MemoryMiB), strings.Trim(fmt.Sprint(g.Counts), "[]"), price(g.PricePerHour, "usd"), plain(strings.Join(g.Regions, ", ")),
		})
	}
	return printTable(io.Out, rows...)
}

// gpusOf puts regions that offer a GPU alike, at the same price, into one row.
func gpusOf(regions []northflank.Region) []listedGPU {
	list := []listedGPU{}
	for _, region := range regions {
		for _, d := range region.GPUs {
			g := listedGPU{ID: d.ID, Name: d.Name, Manufacturer: d.Manufacturer, MemoryMiB: d.Memory.MiB, Counts: d.Counts, PricePerHour: d.PricePerHour()}
			same := slices.IndexFunc(list, func(l listedGPU) bool {
				return l.ID == g.ID && slices.Equal(l.Counts, g.Counts) && price(l.PricePerHour, "usd") == price(g.PricePerHour, "usd")
			})
			if same < 0 {
				same = len(list)
				list = append(list, g)
			}
			list[same].Regions = append(list[same].Regions, region.ID)
		}
	}
	slices.SortStableFunc(list, func(a, b listedGPU) int { return cmp.Compare(a.MemoryMiB, b.MemoryMiB) })
	return list
}

const regionsHelp = `Lists Northflank's own regions with the GPUs that each offers. A project is made in
one and stays there. No token is needed.

Examples:
  prefect-northflank regions
  prefect-northflank regions --output json`

func regionsCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "regions",
		Usage:       "list regions with their GPUs",
		Description: regionsHelp,
		Flags:       []cli.Flag{accountFlag(), outputFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return listRegions(ctx, cmd, io) },
	}
}

// listedRegion is one region as it is shown.
type listedRegion struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Location string   `json:"location"`
	GPUs     []string `json:"gpus"`
}

func listRegions(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, client, err := forCatalog(ctx, cmd, io)
	if err != nil {
		return err
	}
	regions, err := client.Regions(ctx)
	if err != nil {
		return err
	}
	list := []listedRegion{}
	rows := [][]string{{"REGION", "NAME", "LOCATION", "GPUS"}}
	for _, r := range regions {
		gpus := []string{}
		for _, d := range r.GPUs {
			gpus = append(gpus, d.ID)
		}
		list = append(list, listedRegion{r.ID, r.Name, r.Location, gpus})
		rows = append(rows, []string{plain(r.ID), orDash(r.Name), orDash(r.Location), orDash(strings.Join(gpus, ", "))})
	}
	if asJSON {
		return printJSON(io.Out, list)
	}
	return printTable(io.Out, rows...)
}

const projectsHelp = `Lists the Northflank projects that an API token reaches: what project_id takes. A
request of the account's for each hundred.

Examples:
  prefect-northflank projects --credentials northflank-creds
  prefect-northflank projects --output json`

func projectsCommand(io Streams) *cli.Command {
	return &cli.Command{
		Name:        "projects",
		Usage:       "list the projects that an API token reaches",
		Description: projectsHelp,
		Flags:       []cli.Flag{accountFlag(), outputFlag(), profileFlag()},
		Action:      func(ctx context.Context, cmd *cli.Command) error { return listProjects(ctx, cmd, io) },
	}
}

func listProjects(ctx context.Context, cmd *cli.Command, io Streams) error {
	asJSON, err := wantsJSON(cmd)
	if err == nil {
		err = noArguments(cmd)
	}
	if err != nil {
		return err
	}
	account, err := northflankAccount(ctx, cmd, io)
	if err != nil {
		return err
	}
	list := []northflank.ListedProject{}
	rows := [][]string{{"PROJECT", "NAME", "DESCRIPTION"}}
	for p, err := range account.ListProjects(ctx) {
		if err != nil {
			return err
		}
		list = append(list, p)
		rows = append(rows, []string{plain(p.ID), plain(p.Name), plain(p.Description)})
	}
	switch {
	case asJSON:
		return printJSON(io.Out, list)
	case len(list) == 0:
		fmt.Fprintln(io.Err, "The token reaches no project. Create one in Northflank, or widen the project restriction of the token's API role.")
		return nil
	}
	return printTable(io.Out, rows...)
}

// forCatalog reads the flags of a command that lists what Northflank offers to
// everybody, and returns a client for it, which needs no token.
func forCatalog(ctx context.Context, cmd *cli.Command, io Streams) (asJSON bool, client *northflank.Client, err error) {
	if asJSON, err = wantsJSON(cmd); err == nil {
		err = noArguments(cmd)
	}
	if err != nil {
		return false, nil, err
	}
	account := environmentAccount()
	if name := cmd.String("credentials"); name != "" {
		if account, err = blockAccount(ctx, cmd, io, name); err != nil {
			return false, nil, err
		}
	}
	if client, err = northflankClient(account); err != nil {
		return false, nil, badAccount(cmd.String("credentials"), err)
	}
	return asJSON, client, nil
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// memory writes megabytes in the largest unit that keeps them whole.
func memory(mb float64) string {
	switch {
	case mb <= 0:
		return "-"
	case math.Mod(mb, 1024) == 0:
		return number(mb/1024) + " GB"
	}
	return number(mb) + " MB"
}

// price writes an amount with at least two decimals and at most four: plans cost
// fractions of a cent an hour.
func price(amount *float64, currency string) string {
	if amount == nil {
		return "-"
	}
	text := strconv.FormatFloat(*amount, 'f', 4, 64)
	for range 2 {
		text = strings.TrimSuffix(text, "0")
	}
	if currency = strings.ToUpper(plain(currency)); currency == "USD" || currency == "" {
		return "$" + text
	}
	return text + " " + currency
}
