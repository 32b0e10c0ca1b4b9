package database

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// extraAnnotation names the fields of a Cluster's spec that global.database.cnpg.extraSpec sets.
const extraAnnotation = "neutree.ai/extra-spec"

// undeclared is how the API server names a field that a kind does not have.
var undeclared = regexp.MustCompile(`\.spec\.(([A-Za-z0-9_]+)[^:\s]*): field not declared in schema`)

// refuseExtra refuses a field of extraSpec that the operator which is installed does not know. One that the chart sets
// itself comes with the operator of the same chart, and is not refused.
func (c *Cluster) refuseExtra(desired *unstructured.Unstructured, err error) error {
	field := undeclared.FindStringSubmatch(err.Error())
	if field == nil || !slices.Contains(strings.Split(desired.GetAnnotations()[extraAnnotation], ","), field[2]) {
		return nil
	}
	return hook.Refuse(finding.Finding{
		ID: finding.CNPGWebhook, Severity: finding.Error, Object: fmt.Sprintf("Cluster %s/%s", c.namespace, c.name),
		Value: "global.database.cnpg.extraSpec",
		Found: fmt.Sprintf("extraSpec sets %s, which is no field of a Cluster of the CloudNativePG operator that is installed (%s)",
			field[1], kube.Brief(err)),
		Fix: "correct its name; a field that a newer operator brings can be set by the upgrade after that of the operator",
	})
}
