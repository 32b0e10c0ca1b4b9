package cnpgchart

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// document is one object of the release manifest.
type document map[string]any

func (d document) kind() string { return fmt.Sprint(d["kind"]) }

func (d document) name() string {
	metadata, _ := d["metadata"].(map[string]any)
	return fmt.Sprint(metadata["name"])
}

// parse splits a manifest into its objects.
func parse(manifest []byte) ([]document, error) {
	var all []document
	for _, text := range bytes.Split(manifest, []byte("\n---\n")) {
		var one document
		if err := yaml.Unmarshal(text, &one); err != nil {
			return nil, err
		}
		if len(one) > 0 {
			all = append(all, one)
		}
	}
	return all, nil
}

// fromManifest makes the chart's files that hold the manifest's data, by their path in the chart.
func fromManifest(manifest []byte) (map[string][]byte, error) {
	documents, err := parse(manifest)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, part := range []struct{ file, kind, name, field string }{
		{"manifest/mutating.yaml", "MutatingWebhookConfiguration", "cnpg-mutating-webhook-configuration", "webhooks"},
		{"manifest/validating.yaml", "ValidatingWebhookConfiguration", "cnpg-validating-webhook-configuration", "webhooks"},
	} {
		found, err := find(documents, part.kind, part.name)
		if err != nil {
			return nil, err
		}
		content, err := yaml.Marshal(found[part.field])
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", part.kind, part.name, err)
		}
		files[part.file] = content
	}
	if err := rules(documents, files); err != nil {
		return nil, err
	}
	queries, err := find(documents, "ConfigMap", "cnpg-default-monitoring")
	if err != nil {
		return nil, err
	}
	data, _ := queries["data"].(map[string]any)
	text, isText := data["queries"].(string)
	if !isText {
		return nil, fmt.Errorf("ConfigMap %s holds no queries", queries.name())
	}
	files["manifest/queries.yaml"] = []byte(text)
	if files["manifest/resources.yaml"], err = resources(documents); err != nil {
		return nil, err
	}
	if files["templates/crds.yaml"], err = crds(documents); err != nil {
		return nil, err
	}
	return files, nil
}

// clusterWide are the resources that the operator needs in the whole cluster, whatever namespaces it looks after. They
// belong to no namespace.
var clusterWide = []string{
	"nodes", "mutatingwebhookconfigurations", "validatingwebhookconfigurations", "clusterimagecatalogs",
}

// rules makes two files of the operator's permissions: what it needs in the whole cluster, and what it needs in the
// namespaces that it looks after.
func rules(documents []document, files map[string][]byte) error {
	role, err := find(documents, "ClusterRole", "cnpg-manager")
	if err != nil {
		return err
	}
	all, _ := role["rules"].([]any)
	parts := map[string][]any{"manifest/cluster-rules.yaml": {}, "manifest/rules.yaml": {}}
	for _, one := range all {
		rule, isRule := one.(map[string]any)
		if !isRule {
			return fmt.Errorf("ClusterRole %s has a rule that is none: %v", role.name(), one)
		}
		resources, _ := rule["resources"].([]any)
		for file, inside := range map[string]bool{"manifest/cluster-rules.yaml": true, "manifest/rules.yaml": false} {
			part := maps.Clone(rule)
			part["resources"] = slices.DeleteFunc(slices.Clone(resources), func(resource any) bool {
				return slices.Contains(clusterWide, fmt.Sprint(resource)) != inside
			})
			if len(part["resources"].([]any)) > 0 {
				parts[file] = append(parts[file], part)
			}
		}
	}
	for file, part := range parts {
		content, err := yaml.Marshal(part)
		if err != nil {
			return fmt.Errorf("ClusterRole %s: %w", role.name(), err)
		}
		files[file] = content
	}
	return nil
}

// resources is the list of the kinds that the CustomResourceDefinitions define, by the names that permissions use.
func resources(documents []document) ([]byte, error) {
	var names []string
	for _, one := range documents {
		if one.kind() == "CustomResourceDefinition" {
			plural, _, _ := strings.Cut(one.name(), ".")
			names = append(names, plural)
		}
	}
	return yaml.Marshal(names)
}

// crds is the template of the CustomResourceDefinitions, which outlive the release as those of the public chart do.
func crds(documents []document) ([]byte, error) {
	var out strings.Builder
	out.WriteString("{{- if .Values.crds.create }}\n")
	count := 0
	for _, one := range documents {
		if one.kind() != "CustomResourceDefinition" {
			continue
		}
		metadata, ok := one["metadata"].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("a CustomResourceDefinition has no metadata")
		}
		annotations, _ := metadata["annotations"].(map[string]any)
		if annotations == nil {
			annotations = map[string]any{}
		}
		annotations["helm.sh/resource-policy"] = "keep"
		metadata["annotations"] = annotations
		text, err := yaml.Marshal(one)
		if err != nil {
			return nil, fmt.Errorf("CustomResourceDefinition %s: %w", one.name(), err)
		}
		out.WriteString("---\n" + escape(string(text)))
		count++
	}
	if count == 0 {
		return nil, fmt.Errorf("there are no CustomResourceDefinitions")
	}
	out.WriteString("{{- end }}\n")
	return []byte(out.String()), nil
}

func find(documents []document, kind, name string) (document, error) {
	for _, one := range documents {
		if one.kind() == kind && one.name() == name {
			return one, nil
		}
	}
	return nil, fmt.Errorf("there is no %s %s", kind, name)
}
