package secret

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
)

// validate reports a spec that no cluster could satisfy.
func validate(spec hook.SecretsSpec) error {
	if spec.Namespace == "" {
		return hook.Errorf(hook.Usage, "spec: namespace is empty")
	}
	seen := map[string]bool{}
	for _, s := range spec.Secrets {
		if s.Name == "" || seen[s.Name] {
			return hook.Errorf(hook.Usage, "spec: the name of a Secret is empty or there twice: %q", s.Name)
		}
		seen[s.Name] = true
		if len(s.Data) == 0 {
			return hook.Errorf(hook.Usage, "spec: the Secret %s has no keys", s.Name)
		}
		for _, name := range slices.Sorted(maps.Keys(s.Data)) {
			key := s.Data[name]
			sources := 0
			for _, is := range []bool{key.Value != "", key.Generate != nil, key.PostgresURL != nil, key.File != nil} {
				if is {
					sources++
				}
			}
			switch {
			case s.Existing && sources > 0:
				return hook.Errorf(hook.Usage,
					"spec: the Secret %s is given by the user, so its key %s cannot have a value", s.Name, name)
			case !s.Existing && sources > 1:
				return hook.Errorf(hook.Usage,
					"spec: the key %s of the Secret %s has more than one of value, generate, postgresURL and file",
					name, s.Name)
			case key.Generate != nil && key.Generate.Bytes < 8:
				return hook.Errorf(hook.Usage,
					"spec: the key %s of the Secret %s must be generated from at least 8 bytes", name, s.Name)
			}
		}
	}
	return nil
}

// check finds out, without a write, what makes s unusable.
func (k *keeper) check(ctx context.Context, s hook.Secret) ([]finding.Finding, error) {
	current, err := k.get(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	return k.problems(s, current), nil
}

// Problems says what makes a Secret unusable, from what there is of it: nil for nothing. None contains a secret. What an
// installed platform has accepted stays good enough.
func Problems(s hook.Secret, namespace string, current *corev1.Secret, installed bool) []finding.Finding {
	return (&keeper{namespace: namespace, installed: installed}).problems(s, current)
}

// unusable is the finding of a Secret that can't be used.
func (k *keeper) unusable(s hook.Secret, found, fix string) finding.Finding {
	return finding.Finding{
		ID: finding.SecretsGiven, Severity: finding.Error, Object: "Secret " + k.name(s.Name), Value: s.Value, Found: found, Fix: fix,
	}
}

func (k *keeper) problems(s hook.Secret, current *corev1.Secret) []finding.Finding {
	if s.Existing {
		return k.checkGiven(s, current)
	}
	var problems []finding.Finding
	if want := cmp.Or(s.Type, string(corev1.SecretTypeOpaque)); s.Type != "" && current != nil && string(current.Type) != want {
		problems = append(problems, k.unusable(s,
			fmt.Sprintf("the Secret %s is of type %s and must be of type %s, which cannot be changed in place", k.name(s.Name), current.Type, want),
			fmt.Sprintf("save its values, delete it with kubectl delete secret %s --namespace %s, and make it again with that type and the same values",
				s.Name, k.namespace)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Data)) {
		key := s.Data[name]
		if key.Derived() {
			continue
		}
		if current != nil {
			if value, ok := current.Data[name]; ok {
				if fault := weakness(string(value), k.minimum(name, key)); fault != "" {
					problems = append(problems, k.unusable(s, fmt.Sprintf("the key %s of the Secret %s %s", name, k.name(s.Name), fault),
						"set another value with "+k.patchCommand(s.Name, []string{name})))
				}
				continue
			}
		}
		if key.Generate != nil {
			continue
		}
		if fault := weakness(key.Value, k.minimum(name, key)); fault != "" {
			problems = append(problems, k.unusable(s, fmt.Sprintf("the value for the key %s of the Secret %s %s", name, k.name(s.Name), fault),
				"change it in the chart's values"))
		}
	}
	return problems
}

// checkGiven checks a Secret that the user made.
func (k *keeper) checkGiven(s hook.Secret, current *corev1.Secret) []finding.Finding {
	named := ""
	if s.Value != "" {
		named = ", named by " + s.Value + ","
	}
	keys := slices.Sorted(maps.Keys(s.Data))
	if current == nil {
		var literals []string
		for _, key := range keys {
			literals = append(literals, "--from-literal="+key+"=VALUE")
		}
		return []finding.Finding{k.unusable(s, fmt.Sprintf("the Secret %s%s does not exist", k.name(s.Name), named),
			fmt.Sprintf("make it with kubectl create secret generic %s --namespace %s %s", s.Name, k.namespace, strings.Join(literals, " ")))}
	}
	var problems []finding.Finding
	var missing []string
	for _, name := range keys {
		value, ok := current.Data[name]
		if !ok {
			if s.Data[name].Required {
				missing = append(missing, name)
			}
			continue
		}
		if fault := weakness(string(value), k.minimum(name, s.Data[name])); fault != "" {
			problems = append(problems, k.unusable(s, fmt.Sprintf("the key %s of the Secret %s%s %s", name, k.name(s.Name), named, fault),
				"set another value with "+k.patchCommand(s.Name, []string{name})))
		}
	}
	if len(missing) > 0 {
		problems = append(problems, k.unusable(s, fmt.Sprintf("the Secret %s%s lacks %s", k.name(s.Name), named, list(missing)),
			"add what is missing with "+k.patchCommand(s.Name, missing)))
	}
	return problems
}

// patchCommand is the command line that sets keys of a Secret.
func (k *keeper) patchCommand(name string, keys []string) string {
	var data []string
	for _, key := range keys {
		data = append(data, fmt.Sprintf("%q:\"VALUE\"", key))
	}
	return fmt.Sprintf("kubectl patch secret %s --namespace %s --type merge -p '{\"stringData\":{%s}}'", name, k.namespace, strings.Join(data, ","))
}

// minimum is how many characters a value needs. Keys that sign or encrypt need those of 16 bytes in
// hexadecimal digits unless the spec says otherwise.
func (k *keeper) minimum(name string, key hook.SecretKey) int {
	if key.NewMinLength > 0 && !k.installed {
		return key.NewMinLength
	}
	if key.MinLength > 0 {
		return key.MinLength
	}
	if strings.HasSuffix(name, "_KEY") || strings.HasSuffix(name, "_SECRET") {
		return 32
	}
	return 1
}

// weakness says what is wrong with a value, without telling it.
func weakness(value string, minimum int) string {
	switch {
	case strings.TrimSpace(value) == "":
		return "is empty"
	case strings.HasPrefix(strings.ToLower(value), "change-me"), strings.HasPrefix(strings.ToLower(value), "changeme"):
		return "is still the placeholder of an example"
	case len(value) < minimum:
		return fmt.Sprintf("is too short (it needs at least %d characters)", minimum)
	}
	return ""
}

func list(keys []string) string {
	if len(keys) == 1 {
		return "the key " + keys[0]
	}
	return "the keys " + strings.Join(keys[:len(keys)-1], ", ") + " and " + keys[len(keys)-1]
}
