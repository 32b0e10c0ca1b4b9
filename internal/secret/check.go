package secret

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
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
		if (len(s.Data) == 0) == (s.Authority == "") {
			return hook.Errorf(hook.Usage, "spec: the Secret %s has no keys, or keys besides its authority", s.Name)
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

// Problems says what makes the Secrets unusable, from what there is of them, by name. What has worked so far is no
// reason to refuse an upgrade, so such findings are warnings. None contains a secret.
func Problems(spec hook.SecretsSpec, live map[string]*corev1.Secret) []finding.Finding {
	k := &keeper{namespace: spec.Namespace}
	installed := installed(spec, live)
	var problems []finding.Finding
	for _, s := range spec.Secrets {
		problems = append(problems, k.problems(s, live[s.Name], installed)...)
	}
	return problems
}

// installed says whether an earlier run has created Secrets of the spec: what was good enough then stays. A derived value
// is written by us alone, and stays when the release is uninstalled.
func installed(spec hook.SecretsSpec, live map[string]*corev1.Secret) bool {
	for _, s := range spec.Secrets {
		current := live[s.Name]
		if current == nil {
			continue
		}
		if !s.Existing && current.Labels[kube.ManagedByLabel] == kube.FieldManager {
			return true
		}
		for name, key := range s.Data {
			if _, made := current.Data[name]; made && key.Derived() {
				return true
			}
		}
	}
	return false
}

// unusable is the finding of a Secret that can't be used.
func (k *keeper) unusable(s hook.Secret, found, fix string) finding.Finding {
	return finding.Finding{
		ID: finding.SecretsGiven, Severity: finding.Error, Object: "Secret " + k.name(s.Name), Value: s.Value, Found: found, Fix: fix,
	}
}

func (k *keeper) problems(s hook.Secret, current *corev1.Secret, installed bool) []finding.Finding {
	if s.Existing {
		return k.checkGiven(s, current, installed)
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
				problems = append(problems, k.judge(s, name, "", value, installed)...)
				continue
			}
		}
		if key.Generate != nil {
			continue
		}
		fault := weakness(key.Value, minimum(name, key, installed))
		if fault == "" && !key.Lines && endsWithLineBreak(key.Value) {
			fault = "ends with a line break"
		}
		if fault != "" {
			problems = append(problems, k.unusable(s, fmt.Sprintf("the value for the key %s of the Secret %s %s", name, k.name(s.Name), fault),
				"change it in the chart's values"))
		}
	}
	return problems
}

// checkGiven checks a Secret that the user made.
func (k *keeper) checkGiven(s hook.Secret, current *corev1.Secret, installed bool) []finding.Finding {
	named := ""
	if s.Value != "" {
		named = ", named by " + s.Value + ","
	}
	keys := slices.Sorted(maps.Keys(s.Data))
	if current == nil {
		return []finding.Finding{k.unusable(s, fmt.Sprintf("the Secret %s%s does not exist", k.name(s.Name), named),
			"make it with "+k.createCommand(s, keys))}
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
		problems = append(problems, k.judge(s, name, named, value, installed)...)
	}
	if len(missing) > 0 {
		problems = append(problems, k.unusable(s, fmt.Sprintf("the Secret %s%s lacks %s", k.name(s.Name), named, list(missing)),
			"add what is missing with "+k.patchCommand(s.Name, missing)))
	}
	return problems
}

// judge checks one value that there is.
func (k *keeper) judge(s hook.Secret, key, named string, value []byte, installed bool) []finding.Finding {
	what := fmt.Sprintf("the key %s of the Secret %s%s", key, k.name(s.Name), named)
	if fault := weakness(string(value), minimum(key, s.Data[key], installed)); fault != "" {
		return []finding.Finding{k.unusable(s, what+" "+fault, "set another value with "+k.patchCommand(s.Name, []string{key}))}
	}
	if s.Data[key].Lines || !endsWithLineBreak(string(value)) {
		return nil
	}
	f := k.unusable(s, what+" ends with a line break, which services take for a part of it",
		"write it again without that, with "+k.patchCommand(s.Name, []string{key})+"; echo and --from-file bring the line "+
			"break along, --from-env-file and printf %s do not")
	if installed {
		f.Severity = finding.Warning
		f.Why = "what was set up with it may hold the line break as well"
		f.Fix = "leave it if everything works. Otherwise " + f.Fix
	}
	return []finding.Finding{f}
}

// endsWithLineBreak says whether a value is one that echo or an editor has written.
func endsWithLineBreak(value string) bool { return strings.TrimRight(value, "\r\n") != value }

// createCommand is the command line that creates a Secret. Values come from files: arguments are seen by everyone on the
// machine and stay in a shell's history.
func (k *keeper) createCommand(s hook.Secret, keys []string) string {
	create := fmt.Sprintf("kubectl create secret generic %s --namespace %s", s.Name, k.namespace)
	if slices.ContainsFunc(keys, func(key string) bool { return s.Data[key].Lines && s.Data[key].Public }) {
		// A certificate has many lines.
		for _, key := range keys {
			create += " --from-file=" + key + "=FILE"
		}
		return create
	}
	return create + " --from-env-file=FILE, where FILE has the lines " + strings.Join(keys, "=VALUE, ") + "=VALUE"
}

func (k *keeper) patchCommand(name string, keys []string) string {
	return PatchFileCommand(k.namespace, name, keys)
}

// PatchFileCommand is the command line that sets keys of a Secret, and what the file that it reads holds: arguments are
// seen by everyone on the machine and stay in a shell's history.
func PatchFileCommand(namespace, name string, keys []string) string {
	return fmt.Sprintf("kubectl patch secret %s --namespace %s --type merge --patch-file FILE, where FILE holds "+
		"{\"stringData\":{%s}}", name, namespace, values(keys))
}

// values are keys with the word VALUE, as JSON.
func values(keys []string) string {
	var data []string
	for _, key := range keys {
		data = append(data, fmt.Sprintf("%q:\"VALUE\"", key))
	}
	return strings.Join(data, ",")
}

// minimum is how many characters a value needs. Keys that sign or encrypt need those of 16 bytes in
// hexadecimal digits unless the spec says otherwise.
func minimum(name string, key hook.SecretKey, installed bool) int {
	if key.NewMinLength > 0 && !installed {
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
