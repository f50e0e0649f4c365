package prefect

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Route is one operation of Prefect's REST API: method and path template, spelt
// as in the server's OpenAPI document and relative to the API URL.
type Route struct {
	Method string
	Path   string
}

type routeID int

const (
	routeHealth routeID = iota
	routeVersion
	routeCSRFToken
	routeWorkPool
	routeWorkPools
	routeCreateWorkPool
	routeUpdateWorkPool
	routeScheduledFlowRuns
	routeWorkQueues
	routeHeartbeat
	routeWorkers
	routeFlowRun
	routeUpdateFlowRun
	routeFlowRuns
	routeSetState
	routeSetLabels
	routeDeployment
	routeDeploymentByName
	routeDeployments
	routeCreateFlowRun
	routeFlow
	routeFlows
	routeCreateLogs
	routeLogs
	routeCreateEvents
	routeBlockDocument
	routeBlockDocumentByName
	routeBlockDocuments
	routeCreateBlockDocument
	routeUpdateBlockDocument
	routeBlockType
	routeCreateBlockType
	routeUpdateBlockType
	routeCreateBlockSchema
	routeVariable
	routeRenewLease
	routeCount
)

// routeTable is the only place where a path is written: methods take theirs
// from it, and Routes lists it, so that the two cannot differ.
var routeTable = [routeCount]Route{
	routeHealth:              {http.MethodGet, "/health"},
	routeVersion:             {http.MethodGet, "/admin/version"},
	routeCSRFToken:           {http.MethodGet, "/csrf-token"},
	routeWorkPool:            {http.MethodGet, "/work_pools/{name}"},
	routeWorkPools:           {http.MethodPost, "/work_pools/filter"},
	routeCreateWorkPool:      {http.MethodPost, "/work_pools/"},
	routeUpdateWorkPool:      {http.MethodPatch, "/work_pools/{name}"},
	routeScheduledFlowRuns:   {http.MethodPost, "/work_pools/{name}/get_scheduled_flow_runs"},
	routeWorkQueues:          {http.MethodPost, "/work_pools/{work_pool_name}/queues/filter"},
	routeHeartbeat:           {http.MethodPost, "/work_pools/{work_pool_name}/workers/heartbeat"},
	routeWorkers:             {http.MethodPost, "/work_pools/{work_pool_name}/workers/filter"},
	routeFlowRun:             {http.MethodGet, "/flow_runs/{id}"},
	routeUpdateFlowRun:       {http.MethodPatch, "/flow_runs/{id}"},
	routeFlowRuns:            {http.MethodPost, "/flow_runs/filter"},
	routeSetState:            {http.MethodPost, "/flow_runs/{id}/set_state"},
	routeSetLabels:           {http.MethodPatch, "/flow_runs/{id}/labels"},
	routeDeployment:          {http.MethodGet, "/deployments/{id}"},
	routeDeploymentByName:    {http.MethodGet, "/deployments/name/{flow_name}/{deployment_name}"},
	routeDeployments:         {http.MethodPost, "/deployments/filter"},
	routeCreateFlowRun:       {http.MethodPost, "/deployments/{id}/create_flow_run"},
	routeFlow:                {http.MethodGet, "/flows/{id}"},
	routeFlows:               {http.MethodPost, "/flows/filter"},
	routeCreateLogs:          {http.MethodPost, "/logs/"},
	routeLogs:                {http.MethodPost, "/logs/filter"},
	routeCreateEvents:        {http.MethodPost, "/events"},
	routeBlockDocument:       {http.MethodGet, "/block_documents/{id}"},
	routeBlockDocumentByName: {http.MethodGet, "/block_types/slug/{slug}/block_documents/name/{block_document_name}"},
	routeBlockDocuments:      {http.MethodGet, "/block_types/slug/{slug}/block_documents"},
	routeCreateBlockDocument: {http.MethodPost, "/block_documents/"},
	routeUpdateBlockDocument: {http.MethodPatch, "/block_documents/{id}"},
	routeBlockType:           {http.MethodGet, "/block_types/slug/{slug}"},
	routeCreateBlockType:     {http.MethodPost, "/block_types/"},
	routeUpdateBlockType:     {http.MethodPatch, "/block_types/{id}"},
	routeCreateBlockSchema:   {http.MethodPost, "/block_schemas/"},
	routeVariable:            {http.MethodGet, "/variables/name/{name}"},
	routeRenewLease:          {http.MethodPost, "/v2/concurrency_limits/leases/{lease_id}/renew"},
}

// Routes lists every operation that this package uses, to be looked up in a
// server's OpenAPI document.
func Routes() []Route { return slices.Clone(routeTable[:]) }

// fill puts args, escaped, in the place of the template's {parameters}, in order.
func (r Route) fill(args ...string) string {
	var b strings.Builder
	rest := r.Path
	for _, arg := range args {
		before, after, _ := strings.Cut(rest, "{")
		_, after, _ = strings.Cut(after, "}")
		b.WriteString(before)
		b.WriteString(url.PathEscape(arg))
		rest = after
	}
	b.WriteString(rest)
	return b.String()
}

// changes reports whether the server counts the request as changing something,
// which is when it asks for a CSRF token.
func (r Route) changes() bool { return r.Method != http.MethodGet }
