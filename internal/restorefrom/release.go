package restorefrom

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/helmrecord"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// installed is a release as Helm's newest record describes it.
type installed struct {
	Revision int
	// Status is Helm's word for it.
	Status string
	// Chart is the chart's version.
	Chart string
}

// readInstalled reads the newest record of a release, nil where there is none.
func readInstalled(ctx context.Context, client *kube.Client, namespace, release string) (*installed, error) {
	var newest *installed
	var kind schema.GroupVersionResource
	name := ""
	for _, one := range helmrecord.Kinds() {
		err := client.EachMetadata(ctx, one, namespace, helmrecord.Of(release), func(record *metav1.PartialObjectMetadata) {
			revision, _ := strconv.Atoi(record.Labels["version"])
			if newest == nil || revision > newest.Revision {
				newest = &installed{Revision: revision, Status: record.Labels["status"]}
				kind, name = one, record.Name
			}
		})
		if err != nil {
			return nil, kube.Refused(err, "look for release %s in namespace %s", release, namespace)
		}
	}
	if newest == nil {
		return nil, nil
	}
	object, err := client.Resource(kind, namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, kube.Refused(err, "read the record of release %s in namespace %s", release, namespace)
	}
	var record struct {
		Chart struct {
			Metadata struct {
				Version string `json:"version"`
			} `json:"metadata"`
		} `json:"chart"`
	}
	if err := helmrecord.Decode(object, kind, &record); err != nil {
		return nil, fmt.Errorf("read the record of release %s in namespace %s: %w", release, namespace, err)
	}
	newest.Chart = record.Chart.Metadata.Version
	return newest, nil
}

// ready says whether the release can take a backup that needs a chart as it is, "" for any chart. Otherwise it has to be
// installed, or a finding says what else is to be done first.
func (i *installed) ready(namespace, release, chart string) (bool, []finding.Finding) {
	switch {
	case i == nil:
		return false, nil
	case strings.HasPrefix(i.Status, "pending-") || i.Status == "uninstalling":
		return false, []finding.Finding{{ID: finding.BackupInstall, Severity: finding.Error,
			Object: "release " + release,
			Found: fmt.Sprintf("release %s in namespace %s is %s: a Helm client works on it, or was killed",
				release, namespace, i.Status),
			Fix: fmt.Sprintf("wait until it has ended, or run helm neutree recover %s --namespace %s", release, namespace)}}
	case i.Status != "deployed":
		return false, nil
	case older(i.Chart, chart):
		return false, []finding.Finding{{ID: finding.BackupNewer, Severity: finding.Error,
			Object: "release " + release,
			Found: fmt.Sprintf("the backup was made under chart %s, and release %s in namespace %s is of chart %s, which is older",
				chart, release, namespace, i.Chart),
			Fix: "upgrade the release to that chart or a newer one first, or restore with --allow-newer-schema"}}
	}
	return true, nil
}

// older says whether version a is certainly older than b.
func older(a, b string) bool {
	x, errX := semver.NewVersion(a)
	y, errY := semver.NewVersion(b)
	return errX == nil && errY == nil && x.LessThan(y)
}

// refuse makes an error of findings, nil of none.
func refuse(findings []finding.Finding) error {
	if len(findings) == 0 {
		return nil
	}
	return hook.Refuse(findings...)
}
