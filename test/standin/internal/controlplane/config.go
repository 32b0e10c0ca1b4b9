// Package controlplane plays the platform's control plane: sessions, workspaces, the API that workspaces
// and the scheduler call, and the comparison with what the runner believes.
package controlplane

import (
	"fmt"
	"net/url"

	"github.com/neutree-ai/packaging/test/standin/internal/config"
	"github.com/neutree-ai/packaging/test/standin/internal/directory"
	"github.com/neutree-ai/packaging/test/standin/internal/generation"
	"github.com/neutree-ai/packaging/test/standin/internal/process"
	"github.com/neutree-ai/packaging/test/standin/internal/trust"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// poolSize is the largest number of database connections of one control plane.
const poolSize = 35

// options are what the control plane reads from its environment.
type options struct {
	port, pprofPort int
	databaseURL     string
	jwtSecret       string
	serviceKey      string
	gateway         *url.URL
	skillsURL       string
	officeURL       string
	webDist         string
	version         string
	builtAt         string
	kubeconfig      string
	contract        generation.Contract
	workspaces      workspace.Settings
	// directory is nil where users are known by the database alone.
	directory *directory.Directory
}

func readOptions(p *process.Process) (options, error) {
	env := config.New(p.Lookup)
	env.Workload("cp")
	o := options{
		port:        env.Port("PORT", 3000),
		pprofPort:   env.Port("PPROF_PORT", 9090),
		databaseURL: env.Database("DATABASE_URL"),
		jwtSecret:   env.Secret("JWT_SECRET"),
		serviceKey:  env.Secret("PLATFORM_SERVICE_KEY"),
		skillsURL:   env.Required("SKILLS_CONTENT_URL"),
		officeURL:   env.OptionalURL("OFFICE_CONVERTER_URL"),
		webDist:     env.File("WEB_DIST", "web/dist"),
		version:     env.Optional("APP_VERSION", "stand-in"),
		builtAt:     env.Optional("BUILD_TIME", "unknown"),
		kubeconfig:  env.Optional("KUBECONFIG", ""),
		contract:    generation.Read(env),
	}
	env.Secret("CREDENTIAL_ENCRYPTION_KEY")
	for _, name := range []string{"BROWSER_SERVICE_URL", "SANDBOX_SERVICE_URL", "BROWSER_PUBLIC_URL", "SANDBOX_PUBLIC_URL"} {
		env.OptionalURL(name)
	}
	env.File("AFS_PROTO_PATH", "proto/afs.proto")
	o.directory = directory.Read(env, trust.Pool(env))
	gatewayURL := env.Required("CG_URL")
	if err := env.Err(); err != nil {
		return options{}, err
	}
	var err error
	if o.gateway, err = url.Parse(gatewayURL); err != nil {
		return options{}, fmt.Errorf("wrong environment: CG_URL: %w", err)
	}
	o.workspaces, err = workspace.ReadSettings(env)
	o.workspaces.MultiReplica = o.workspaces.MultiReplica && o.contract.StatefulSets
	return o, err
}
