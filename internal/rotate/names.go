package rotate

import (
	"fmt"
	"time"

	"github.com/neutree-ai/packaging/internal/secretplan"
)

// Names of rotations that do more than to write a value and to restart services.
const (
	credentialKey = secretplan.CredentialKey
	database      = "database"
	admin         = secretplan.Admin
)

// Kind is one of the rotations that there are.
type Kind struct {
	Name string
	// Notice says what users notice of it.
	Notice string
	// Module is the value that turns on what has the keys, "" for what every release has.
	Module string
	// given says how a value that a person has changed is used, after "put another value there".
	given string
	// gap says what does not work from the new value until the services are replaced, "" for nothing to measure.
	gap string
}

// Kinds are all rotations, in the order in which people are shown them.
func Kinds() []Kind {
	const restarts = "which restarts the services that read it"
	return []Kind{
		{Name: "jwt", Notice: "all users are logged out and have to log in again", given: restarts},
		{Name: "service-key", given: restarts,
			Notice: "nothing; for some seconds calls from the scheduler to the control plane are refused"},
		{Name: credentialKey,
			Notice: "the platform does not answer while credentials are encrypted again: for less than a minute, unless " +
				"there are tens of thousands of them",
			given: "which encrypts what users have stored with the new value and restarts the services that read it",
			gap:   "the platform did not answer"},
		{Name: database, given: "once the role has that password too (ALTER ROLE … PASSWORD, or \\password in psql): it " +
			"restarts the services that read it",
			Notice: "requests may fail that need a new connection to the database while services are replaced",
			gap:    "services that were not replaced yet could open no new connection to the database"},
		{Name: admin, given: "which sets it in the database",
			Notice: "the first administrator logs in with the new password; sessions that are open stay, for a day at most"},
		{Name: "sandbox", Module: "global.modules.sandbox.enabled", given: restarts,
			Notice: "users of the sandbox pages are logged out of them; for some seconds no new browser can be opened"},
		{Name: "browser", Module: "global.modules.browser.enabled", given: restarts,
			Notice: "users of the browser pages are logged out of them"},
		{Name: "turn", Module: "global.modules.browser.enabled", given: restarts,
			Notice: "live views of browsers that are open lose their connection, and have to be opened again"},
	}
}

// measured says for how long something did not work, "" where there is nothing to say.
func (k Kind) measured(began time.Time) string {
	if k.gap == "" {
		return ""
	}
	return fmt.Sprintf("; for %.0f s %s", time.Since(began).Seconds(), k.gap)
}

// Names are those of all rotations.
func Names() []string {
	var names []string
	for _, kind := range Kinds() {
		names = append(names, kind.Name)
	}
	return names
}

func kindOf(name string) (Kind, bool) {
	for _, kind := range Kinds() {
		if kind.Name == name {
			return kind, true
		}
	}
	return Kind{}, false
}
