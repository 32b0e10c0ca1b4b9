package contract

// Coupling is a value that several workloads must hold alike.
type Coupling struct {
	// Members are the variables, by the Name of the workload that holds each.
	Members []Member
	// Otherwise is what goes wrong when they differ.
	Otherwise string
}

// Member is one variable of one workload.
type Member struct{ Workload, Env string }

// Couplings are the values that must agree between services.
func Couplings() []Coupling {
	couplings := []Coupling{
		{Members: []Member{{"cp", "JWT_SECRET"}, {"cg", "JWT_SECRET"}},
			Otherwise: "the channels pages answer 401"},
		{Members: []Member{{"cp", "PLATFORM_SERVICE_KEY"}, {"scheduler", "PLATFORM_SERVICE_KEY"}},
			Otherwise: "the scheduler's calls to the control plane answer 401"},
		{Members: []Member{{"cg", "NAP_API_URL"}, {"scheduler", "NAP_API_URL"}},
			Otherwise: "one of them calls something that is not the control plane"},
		{Members: []Member{{"cp", "CG_URL"}, {"scheduler", "CG_API_URL"}},
			Otherwise: "one of them calls something that is not the channel gateway"},
		{Members: []Member{{"cp", "DATABASE_URL"}, {"cg", "DATABASE_URL"}, {"skills", "DATABASE_URL"},
			{"env-runner-k8s", "DATABASE_URL"}, {"scheduler", "DATABASE_URL"}},
			Otherwise: "services work on different databases"},
	}
	for _, env := range ProviderEnv() {
		couplings = append(couplings, Coupling{
			Members:   []Member{{"cp", env.Name}, {"env-runner-k8s", env.Name}},
			Otherwise: "workspaces are taken for stale and rebuilt for ever",
		})
	}
	return couplings
}

// ModuleCouplings are the values that the modules must hold alike with each other and the core.
func ModuleCouplings() []Coupling {
	return []Coupling{
		{Members: []Member{{"cp", "WEB_PUBLIC_URL"}, {"sandbox", "NAP_OAUTH_URL"}},
			Otherwise: "log-in ends at another origin than it began"},
		{Members: []Member{{"cp", "SANDBOX_PUBLIC_URL"}, {"sandbox", "SANDBOX_SERVICE_URL"}},
			Otherwise: "users are sent where no sandbox answers"},
		{Members: []Member{{"cp", "CP_SERVICE_URL"}, {"sandbox", "NAP_URL"}},
			Otherwise: "the sandbox service calls something that is not the control plane"},
		{Members: []Member{{"cp", "WEB_PUBLIC_URL"}, {"browser", "NAP_OAUTH_URL"}},
			Otherwise: "log-in ends at another origin than it began"},
		{Members: []Member{{"cp", "BROWSER_PUBLIC_URL"}, {"browser", "BROWSER_SERVICE_URL"}},
			Otherwise: "users are sent where no browser answers"},
		{Members: []Member{{"cp", "SANDBOX_SERVICE_URL"}, {"browser", "SANDBOX_SERVICE_URL"}},
			Otherwise: "no browser is ever made"},
		{Members: []Member{{"sandbox", "SERVICE_KEY"}, {"browser", "SANDBOX_SERVICE_KEY"}},
			Otherwise: "no browser is ever made: the sandbox service answers 401"},
		{Members: []Member{{"cp", "DATABASE_URL"}, {"sandbox", "DATABASE_URL"}, {"browser", "DATABASE_URL"}},
			Otherwise: "services work on different databases"},
	}
}
