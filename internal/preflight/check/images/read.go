// Package images checks whether images are what they should be, and whether nodes can pull them.
package images

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/cluster"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/internal/preflight"
	"github.com/neutree-ai/packaging/internal/requirement"
)

// Checks are those of this topic.
func Checks() []preflight.Check {
	return append([]preflight.Check{
		{ID: "images.tag", Title: "Images are named by tags that do not move", Severity: preflight.Warning, Run: func(_ context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
			return tags(s.Requirements.Images), nil
		}},
		{ID: "images.arch", Title: "Images exist for the nodes' architecture", Needs: preflight.Cluster, Severity: preflight.Error, Run: arch},
		{ID: "images.secret", Title: "Pull secrets exist and know their registry", Needs: preflight.Cluster, Severity: preflight.Error, Applies: pullSecrets, Run: secrets},
	}, probes()...)
}

// tags finds images whose reference can mean another image tomorrow.
func tags(images []requirement.Image) []preflight.Finding {
	var findings []preflight.Finding
	var named []string
	for _, image := range images {
		if slices.Contains(named, image.Ref) {
			continue
		}
		named = append(named, image.Ref)
		ref, err := name.ParseReference(image.Ref)
		if err != nil {
			findings = append(findings, preflight.Finding{
				Object: image.Ref, Value: image.Value, Severity: preflight.Error,
				Found: fmt.Sprintf("%q, for %s, is no image reference: %v", image.Ref, image.Why, err),
				Why:   "no node can pull it", Fix: "set " + image.Value + " to registry/repository:tag",
			})
			continue
		}
		tag, ok := ref.(name.Tag)
		if !ok || !slices.Contains([]string{"latest", "main", "master", "edge", "nightly", "dev"}, tag.TagStr()) {
			continue
		}
		finding := preflight.Finding{
			Object: image.Ref, Value: image.Value,
			Found: fmt.Sprintf("image %s, for %s, is named by the tag %q", image.Ref, image.Why, tag.TagStr()),
			Why:   "two nodes, or two days, may run different versions of it, and a rollback does not bring the old one back",
			Fix:   "set a tag of a release, or a digest, in " + image.Value,
		}
		if strings.HasSuffix(tag.RepositoryStr(), "/afs") {
			finding.Fix = "no release tag of AFS is known: pin what you tested by its digest in " + image.Value
		}
		findings = append(findings, finding)
	}
	return findings
}

func arch(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	nodes, err := s.Cluster.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the nodes: %w", err)
	}
	return architectures(nodes, s.Requirements.Images), nil
}

// architectures compares what is known of published images with the nodes that may run them.
func architectures(nodes []corev1.Node, images []requirement.Image) []preflight.Finding {
	var findings []preflight.Finding
	var named []string
	for _, image := range images {
		built := platform.Architectures(image.Ref)
		if len(built) == 0 || slices.Contains(named, image.Ref) {
			continue
		}
		spec := &corev1.PodSpec{NodeSelector: image.NodeSelector, Affinity: image.Affinity, Tolerations: image.Tolerations}
		var fit int
		var wrong []string
		others := map[string]bool{}
		for i := range nodes {
			if cluster.Unfit(&nodes[i], spec) != "" {
				continue
			}
			is := nodes[i].Labels[corev1.LabelArchStable]
			if is == "" || slices.Contains(built, is) {
				fit++
				continue
			}
			wrong = append(wrong, nodes[i].Name)
			others[is] = true
		}
		if len(wrong) == 0 {
			continue
		}
		named = append(named, image.Ref)
		finding := preflight.Finding{
			Object: image.Ref, Node: wrong[0], Value: image.Value,
			Found: fmt.Sprintf("image %s, for %s, is published for %s, and %d of %d nodes that may run it are of another architecture (%s, first %s)",
				image.Ref, image.Why, strings.Join(built, " and "), len(wrong), fit+len(wrong),
				strings.Join(slices.Sorted(maps.Keys(others)), ", "), wrong[0]),
			Why: "a pod that comes to such a node never starts",
			Fix: fmt.Sprintf("keep these pods on nodes with kubernetes.io/arch=%s by their nodeSelector, or set %s to an image for the others", built[0], image.Value),
		}
		if fit > 0 {
			finding.Severity = preflight.Warning
		}
		findings = append(findings, finding)
	}
	return findings
}

func pullSecrets(s *preflight.Subject) (bool, string) {
	for _, image := range s.Requirements.Images {
		if len(image.PullSecrets) > 0 {
			return true, ""
		}
	}
	return false, "no pull secret is set"
}

func secrets(ctx context.Context, s *preflight.Subject) ([]preflight.Finding, error) {
	var order []string
	hosts := map[string][]string{}
	for _, image := range s.Requirements.Images {
		ref, err := name.ParseReference(image.Ref)
		if err != nil {
			continue
		}
		for _, secret := range image.PullSecrets {
			if hosts[secret] == nil {
				order = append(order, secret)
			}
			if host := ref.Context().RegistryStr(); !slices.Contains(hosts[secret], host) {
				hosts[secret] = append(hosts[secret], host)
			}
		}
	}
	var findings []preflight.Finding
	for _, secret := range order {
		live, err := s.Cluster.Secret(ctx, s.Requirements.Namespace, secret)
		if err != nil {
			return nil, fmt.Errorf("read Secret %s/%s: %w", s.Requirements.Namespace, secret, err)
		}
		findings = append(findings, pullSecret(s.Requirements.Namespace, secret, hosts[secret], live)...)
	}
	return findings, nil
}

// pullSecret checks one against the registries that it is for.
func pullSecret(namespace, secret string, hosts []string, live *corev1.Secret) []preflight.Finding {
	finding := preflight.Finding{
		Object: fmt.Sprintf("Secret %s/%s", namespace, secret), Value: "global.imagePullSecrets",
		Why: "nodes pull without a login, and private images are refused",
		Fix: fmt.Sprintf("log in with docker login %s, and make it of the file where that keeps the login: kubectl create "+
			"secret generic %s --namespace %s --type=%s --from-file=%s=FILE", hosts[0], secret, namespace,
			corev1.SecretTypeDockerConfigJson, corev1.DockerConfigJsonKey),
	}
	if live == nil {
		finding.Found = fmt.Sprintf("pull secret %s does not exist in namespace %s", secret, namespace)
		return []preflight.Finding{finding}
	}
	if live.Type != corev1.SecretTypeDockerConfigJson {
		finding.Found = fmt.Sprintf("pull secret %s is of type %s, not %s", secret, live.Type, corev1.SecretTypeDockerConfigJson)
		finding.Fix = fmt.Sprintf("kubectl delete secret %s --namespace %s, then %s", secret, namespace, finding.Fix)
		return []preflight.Finding{finding}
	}
	var config struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.Unmarshal(live.Data[corev1.DockerConfigJsonKey], &config); err != nil {
		finding.Found = fmt.Sprintf("pull secret %s holds no JSON that a login can be read from", secret)
		return []preflight.Finding{finding}
	}
	for _, host := range hosts {
		for key := range config.Auths {
			if logsInto(key, host) {
				return nil
			}
		}
	}
	finding.Severity = preflight.Warning
	finding.Found = fmt.Sprintf("pull secret %s has a login for none of the registries that images come from: %s", secret, strings.Join(hosts, ", "))
	return []preflight.Finding{finding}
}

// logsInto says whether a key of a pull secret, which may be a host or a URL, is for a registry.
func logsInto(key, host string) bool {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key, _, _ = strings.Cut(key, "/")
	if host == name.DefaultRegistry && (key == "docker.io" || key == name.DefaultRegistry) {
		return true
	}
	// A key may name all hosts of a domain.
	if domain, ok := strings.CutPrefix(key, "*."); ok {
		return strings.HasSuffix(host, "."+domain)
	}
	return key == host
}
