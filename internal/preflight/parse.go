package preflight

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/neutree-ai/packaging/internal/platform"
)

// ParseNodes reads how many nodes are looked at: "all", which is 0, or a number.
func ParseNodes(text string) (int, error) {
	if text == "all" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("--nodes must be all or a number from 1, not %q", text)
	}
	return n, nil
}

// ParseModels reads models written as agent=codex,url=https://…,name=…,secret=NAME/KEY.
func ParseModels(texts []string) ([]Model, error) {
	var models []Model
	for _, text := range texts {
		var m Model
		secret := ""
		fields := map[string]*string{"agent": &m.Agent, "url": &m.URL, "name": &m.Name, "secret": &secret}
		for part := range strings.SplitSeq(text, ",") {
			key, value, found := strings.Cut(part, "=")
			field := fields[strings.TrimSpace(key)]
			if !found || field == nil {
				// What is written there could be a password.
				return nil, fmt.Errorf("--model: %q is none of agent=, url=, name= and secret=", strings.TrimSpace(key))
			}
			*field = strings.TrimSpace(value)
		}
		if !slices.Contains(platform.AgentTypes, m.Agent) {
			return nil, fmt.Errorf("--model: agent must be one of %s, not %q", strings.Join(platform.AgentTypes, ", "), m.Agent)
		}
		if m.URL == "" || m.Name == "" {
			return nil, fmt.Errorf("--model: agent %s needs url= and name=", m.Agent)
		}
		if secret != "" {
			var found bool
			if m.Secret, m.Key, found = strings.Cut(secret, "/"); !found || m.Secret == "" || m.Key == "" {
				return nil, fmt.Errorf("--model: secret must be NAME/KEY of a Secret in the release's namespace")
			}
		}
		models = append(models, m)
	}
	return models, nil
}
