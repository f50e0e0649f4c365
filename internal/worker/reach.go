package worker

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// UnreachableAPI returns a warning when a container in the cloud cannot reach
// the Prefect API at apiURL: an address of this machine, or of a private
// network. With a local Northflank (northflankURL on this machine) containers
// are local too, and there is nothing to warn of: "".
func UnreachableAPI(apiURL, northflankURL string) string {
	api, err := url.Parse(apiURL)
	if err != nil {
		return ""
	}
	if nf, err := url.Parse(northflankURL); err == nil && northflankURL != "" && reach(nf.Hostname()) == "this machine" {
		return ""
	}
	if where := reach(api.Hostname()); where != "" {
		return fmt.Sprintf("PREFECT_API_URL (%s) is an address of %s: containers on Northflank cannot reach it, and flow runs will crash there. "+
			"Use an address that they reach, or give it to flow runs alone with the job variable runtime_environment.", api.Redacted(), where)
	}
	return ""
}

// reach says from where alone a host can be reached; "" is anywhere, as far as
// its name tells.
func reach(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return "this machine"
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil && (!strings.Contains(host, ".") || strings.HasSuffix(host, ".local") || strings.HasSuffix(host, ".internal")):
		return "a private network"
	case err != nil:
		return ""
	case addr.IsLoopback(), addr.IsUnspecified():
		return "this machine"
	case addr.IsPrivate(), addr.IsLinkLocalUnicast():
		return "a private network"
	}
	return ""
}
