// Package generation holds in what the platform's services published at v0.2.0 differ from those built later. All
// differences are here, each with the section of the platform's deployment contract that describes it; in everything
// else both generations are played alike.
package generation

import (
	"fmt"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
)

// Env is the variable with which a stand-in's image says which generation it plays. The real images have no such thing.
const Env = "STANDIN_CONTRACT"

// Contract is how control plane, scheduler, env runner and workspaces of one generation talk to each other.
type Contract struct {
	// Health is the control plane's path for probes. At v0.2.0 /healthz is no route of its own: it is redirected to
	// /login, which a probe takes for an answer too (§1.3).
	Health string
	// Services is the path under which the control plane answers the scheduler (§0, row 2).
	Services string
	// Workspaces is the path under which the control plane answers what runs in a workspace. Requests under the path of
	// the other generation are redirected to /login, like everything that is no route (§0, row 2; §14.2, 7df97dd). Of
	// v0.2.0 the contract gives no more than the prefix /_cp/.
	Workspaces func(id string) string
	// Tokens says that a workspace proves itself by a token of its own, which the env runner keeps in a Secret (§4.2), and
	// the scheduler by PLATFORM_SERVICE_KEY, which v0.2.0 ignores (§2.1).
	Tokens bool
	// StatefulSets says that a workspace can have several replicas; v0.2.0 uses no StatefulSets (§4.4).
	StatefulSets bool
	// Template is the version of the workspaces' pod template (§4.2).
	Template string
	// ServiceLinks says that workspace pods get variables for every Service of their namespace (§15).
	ServiceLinks bool
}

// Published is the contract of the images tagged v0.2.0.
func Published() Contract {
	return Contract{
		Health: "/_cp/health", Services: "/_cp/health",
		Workspaces: func(id string) string { return "/_cp/workspaces/" + id + "/" },
		Template:   "6", ServiceLinks: true,
	}
}

// Newer is the contract of revision e5ea8d0 of the platform, of which no version is published yet.
func Newer() Contract {
	return Contract{
		Health: "/healthz", Services: "/svc/v1/ping",
		Workspaces: func(string) string { return "/workspace/v1/" },
		Tokens:     true, StatefulSets: true, Template: "8",
	}
}

// Read returns the contract that the image's environment names.
func Read(env *config.Env) Contract {
	var chosen Contract
	name := env.Required(Env)
	if name == "" {
		return chosen
	}
	env.Require(Env, func() error {
		switch name {
		case "v0.2.0":
			chosen = Published()
		case "e5ea8d0":
			chosen = Newer()
		default:
			return fmt.Errorf("is %q, not v0.2.0 or e5ea8d0", name)
		}
		return nil
	})
	return chosen
}
