package restorefrom

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/finding"
)

// ownValues are the values to install with: the person's, or those that the release had, without what the chart at
// path has by itself.
func (r *Restore) ownValues(path string) ([]byte, []finding.Finding, error) {
	if r.Values != nil {
		return r.Values, nil, nil
	}
	var saved map[string]any
	if err := yaml.Unmarshal([]byte(r.Escrow.Values), &saved); err != nil {
		return nil, nil, fmt.Errorf("read the values that were saved with backup %s: they are no YAML", r.Copy.Metadata.Name)
	}
	ch, err := chart.Load(path)
	if err != nil {
		return nil, nil, err
	}
	if ch.Metadata.Version != r.Escrow.Chart {
		return nil, []finding.Finding{{ID: finding.BackupInstall, Severity: finding.Error, Object: "chart " + path,
			Found: fmt.Sprintf("the values that were saved are those of chart %s, and %s is chart %s", r.Escrow.Chart, path,
				ch.Metadata.Version),
			Why: "which of them are defaults of that chart, such as its images, another chart does not show",
			Fix: fmt.Sprintf("name chart %s with --chart and --version, and upgrade after the restore; or write your values "+
				"into a file and name it with --values", r.Escrow.Chart)}}, nil
	}
	own, err := chart.UserValues(ch, saved)
	if err != nil {
		return nil, nil, err
	}
	text, err := yaml.Marshal(own)
	return text, nil, err
}

// SavedValues are the values that the release had, without what the chart has by itself: a values file to edit.
func (r *Restore) SavedValues(ctx context.Context) ([]byte, error) {
	path, err := r.Chart(ctx)
	if err != nil {
		return nil, err
	}
	values, wrong, err := r.ownValues(path)
	if err == nil {
		err = refuse(wrong)
	}
	return values, err
}

// naming are the paths of values that contain the name of the namespace that the backup is of, where the restore is
// into another one.
func (r *Restore) naming(values []byte) []string {
	if r.Escrow.Namespace == "" || r.Escrow.Namespace == r.Namespace {
		return nil
	}
	var read map[string]any
	if yaml.Unmarshal(values, &read) != nil {
		return nil
	}
	var paths []string
	eachText(read, "", func(path, text string) {
		if slices.Contains(strings.FieldsFunc(text, notInName), r.Escrow.Namespace) ||
			strings.HasPrefix(text, r.Escrow.Namespace+"-") {
			paths = append(paths, fmt.Sprintf("%s=%s", path, text))
		}
	})
	slices.Sort(paths)
	return paths
}

// notInName separates names: an address has the namespace between dots.
func notInName(r rune) bool {
	return !(r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}

// eachText calls do with each text in values.
func eachText(value any, path string, do func(path, text string)) {
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			eachText(inner, strings.TrimPrefix(path+"."+key, "."), do)
		}
	case []any:
		for i, inner := range value {
			eachText(inner, fmt.Sprintf("%s[%d]", path, i), do)
		}
	case string:
		do(path, value)
	}
}

// places are where users' files are in the cluster, and what copies of backups need there.
type places struct {
	// Workspaces is the namespace of the workspaces, Shared the PVC there that all of them share.
	Workspaces, Shared string
	// External says that the database is none of the release's own.
	External bool
	// Secrets and Claims are what the backups of the release need in its namespace, by the path of the value that names
	// it. No escrow has them: they belong to where the copies are.
	Secrets, Claims map[string]string
}

// placesOf reads them from values.
func placesOf(namespace string, values []byte) places {
	var read struct {
		Global struct {
			Workspaces struct{ Namespace string }
			Storage    struct {
				Shared struct{ ExistingClaim string }
			}
			Database struct{ Mode string }
			Backup   struct {
				S3      struct{ Bucket, ExistingSecret, CASecret string }
				Offsite struct{ ExistingClaim string }
			}
		}
	}
	// Values that the chart would refuse are refused by it.
	_ = yaml.Unmarshal(values, &read)
	at := places{
		Workspaces: cmp.Or(read.Global.Workspaces.Namespace, namespace+"-workspaces"),
		Shared:     cmp.Or(read.Global.Storage.Shared.ExistingClaim, "afs-shared-storage"),
		External:   read.Global.Database.Mode == "external",
		Claims:     map[string]string{"global.backup.offsite.existingClaim": read.Global.Backup.Offsite.ExistingClaim},
	}
	if s3 := read.Global.Backup.S3; s3.Bucket != "" {
		at.Secrets = map[string]string{
			"global.backup.s3.existingSecret": s3.ExistingSecret, "global.backup.s3.caSecret": s3.CASecret,
		}
	}
	return at
}
