package secretcheck

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/helmrecord"
	"github.com/neutree-ai/packaging/internal/kube"
)

// shortest is the length from which on a value is searched for: a shorter one may be an ordinary word.
const shortest = 12

// content is what of a revision may contain values. The templates of a chart are left out: its default values are not.
type content struct {
	Config   map[string]any `json:"config"`
	Manifest string         `json:"manifest"`
	Hooks    []struct {
		Manifest string `json:"manifest"`
	} `json:"hooks"`
	Chart struct {
		Values map[string]any `json:"values"`
	} `json:"chart"`
}

// stored is one record of Helm's.
type stored struct {
	kind     schema.GroupVersionResource
	name     string
	revision int
	// over says that Helm needs it no more: it was superseded, or failed.
	over bool
}

// leak is one value and the records in which it is.
type leak struct {
	valued
	forms []string
	in    []stored
	parts map[string]bool
}

// leaked searches Helm's records for the values. Each record is read, searched and forgotten: together they may be
// large.
func (c *Checker) leaked(ctx context.Context) ([]finding.Finding, error) {
	records, err := c.records(ctx)
	if err != nil {
		return nil, err
	}
	var leaks []*leak
	for _, one := range c.confidential() {
		text := strings.TrimSpace(string(one.value))
		if len(text) < shortest {
			continue
		}
		forms := []string{text, base64.StdEncoding.EncodeToString([]byte(text))}
		if text != string(one.value) {
			forms = append(forms, base64.StdEncoding.EncodeToString(one.value))
		}
		leaks = append(leaks, &leak{valued: one, forms: forms, parts: map[string]bool{}})
	}
	var errs []error
	for _, record := range records {
		if err := c.search(ctx, record, leaks); err != nil {
			errs = append(errs, err)
		}
	}
	var findings []finding.Finding
	for _, one := range leaks {
		if len(one.in) > 0 {
			findings = append(findings, c.leakFinding(one, records))
		}
	}
	return findings, errors.Join(errs...)
}

// records are all of the release's, the oldest first.
func (c *Checker) records(ctx context.Context) ([]stored, error) {
	var records []stored
	for _, kind := range helmrecord.Kinds() {
		err := c.client.EachMetadata(ctx, kind, c.namespace, helmrecord.Of(c.plan.Release),
			func(record *metav1.PartialObjectMetadata) {
				revision, _ := strconv.Atoi(record.Labels["version"])
				status := record.Labels["status"]
				records = append(records, stored{kind, record.Name, revision, status == "superseded" || status == "failed"})
			})
		if err != nil {
			return nil, kube.Refused(err, "list the records of release %s in namespace %s", c.plan.Release, c.namespace)
		}
	}
	slices.SortFunc(records, func(a, b stored) int { return cmp.Compare(a.revision, b.revision) })
	return records, nil
}

// search looks for the values in one record.
func (c *Checker) search(ctx context.Context, record stored, leaks []*leak) error {
	object, err := c.client.Resource(record.kind, c.namespace).Get(ctx, record.name, metav1.GetOptions{})
	if err != nil {
		return kube.Refused(err, "read the record of revision %d", record.revision)
	}
	var found content
	if err := helmrecord.Decode(object, record.kind, &found); err != nil {
		return fmt.Errorf("read the record of revision %d: %w", record.revision, err)
	}
	texts := map[string][]string{"values": leaves(found.Config), "manifest": {found.Manifest},
		"default values of the chart": leaves(found.Chart.Values)}
	for _, one := range found.Hooks {
		texts["manifest"] = append(texts["manifest"], one.Manifest)
	}
	for _, one := range leaks {
		in := false
		for part, list := range texts {
			if slices.ContainsFunc(list, one.isIn) {
				in, one.parts[part] = true, true
			}
		}
		if in {
			one.in = append(one.in, record)
		}
	}
	return nil
}

func (l *leak) isIn(text string) bool {
	return slices.ContainsFunc(l.forms, func(form string) bool { return strings.Contains(text, form) })
}

// leaves are the names and the values in a tree, as text.
func leaves(tree any) []string {
	var all []string
	switch node := tree.(type) {
	case map[string]any:
		for key, value := range node {
			all = append(append(all, key), leaves(value)...)
		}
	case []any:
		for _, value := range node {
			all = append(all, leaves(value)...)
		}
	case string:
		all = []string{node}
	case json.Number:
		all = []string{node.String()}
	}
	return all
}

func (c *Checker) leakFinding(l *leak, all []stored) finding.Finding {
	newest := all[len(all)-1]
	var revisions []string
	old := map[string][]string{}
	for _, record := range l.in {
		revisions = append(revisions, strconv.Itoa(record.revision))
		if record != newest && record.over {
			old[record.kind.Resource] = append(old[record.kind.Resource], record.name)
		}
	}
	parts := slices.Sorted(maps.Keys(l.parts))
	fix := []string{"take it out of the values or the chart that helm gets"}
	if name := c.plan.RotationOf(l.ref); name != "" {
		fix = append(fix, "then replace it with "+c.rotate(name))
	}
	for _, kind := range slices.Sorted(maps.Keys(old)) {
		fix = append(fix, fmt.Sprintf("then delete the old revisions, or let helm upgrade --history-max do so: "+
			"kubectl delete %s %s --namespace %s", kind, strings.Join(old[kind], " "), c.namespace))
	}
	for _, record := range l.in {
		if record == newest || !record.over {
			fix = append(fix, fmt.Sprintf("revision %d is still needed: upgrade first, then run this again", record.revision))
			break
		}
	}
	return finding.Finding{
		ID: finding.SecretsLeaked, Object: c.object(l.ref.Secret),
		Found: fmt.Sprintf("the key %s of Secret %s/%s can be read in Helm's history: in the %s of revision %s", l.ref.Key,
			c.namespace, l.ref.Secret, strings.Join(parts, " and the "), strings.Join(revisions, ", ")),
		Why: "helm get shows it to everyone who may read the records of the release, which helm keeps",
		Fix: strings.Join(fix, "; "),
	}
}
