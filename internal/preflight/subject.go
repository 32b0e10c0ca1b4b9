package preflight

import (
	"fmt"
	"slices"
	"time"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Subject is what is checked, and with what.
type Subject struct {
	Requirements *requirement.Set
	Cluster      *cluster.View
	// Probes is nil where no pods may be started; checks that need them do not run then.
	Probes  *probe.Session
	Options Options
	// Hide takes secrets out of what is reported, as the last line of defence. Nil hides nothing.
	Hide func(string) string
}

// Options are what a person decides.
type Options struct {
	// Only and Skip are IDs or topics. Empty Only stands for all.
	Only, Skip []string
	// With are IDs or topics of checks that run only when asked for.
	With []string
	// NoPods leaves out every check that starts pods.
	NoPods bool
	// Nodes is how many nodes each check that looks at every node takes; 0 stands for all.
	Nodes int
	// Wait is how long failed checks are repeated.
	Wait time.Duration
	// CheckTimeout bounds one attempt of one check; 0 stands for a minute, and for three of those that start pods.
	CheckTimeout time.Duration
	// Models are the endpoints of models that agents shall use.
	Models []Model
	// Upgrade says that the release exists and would be upgraded.
	Upgrade bool
}

// UseCurrentNames replaces IDs and topics of an earlier version by those of this one, and returns a warning for each.
func (o *Options) UseCurrentNames() []string {
	var warnings []string
	for _, names := range []*[]string{&o.Only, &o.Skip, &o.With} {
		current := slices.Clone(*names)
		for i, name := range current {
			renamed, ok := finding.CurrentName(name)
			if !ok {
				continue
			}
			current[i] = renamed.New
			warnings = append(warnings, fmt.Sprintf("%s is called %s now; the old name works until version %s", renamed.Old, renamed.New, renamed.Until))
		}
		*names = current
	}
	return warnings
}

// Model is an endpoint of a model: preflight's own input, since the platform is told of models after the install.
type Model struct {
	// Agent is the type of agent, which decides the protocol: claude-code, codex or goose.
	Agent string
	URL   string
	Name  string
	// Secret and Key hold the password, in the release's namespace.
	Secret, Key string
}

// cleaning bounds how long probe pods may take to go. Who does not want to wait ends the command once more.
const cleaning = 30 * time.Second

// Close removes what probes made, whatever has become of the context they worked with.
func (s *Subject) Close() error {
	if s.Probes == nil {
		return nil
	}
	return s.Probes.Close(cleaning)
}
