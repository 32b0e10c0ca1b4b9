package backupjob

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/internal/backup"
	"github.com/neutree-ai/packaging/internal/kube"
)

// recordKey is the key of the record of the last drill in its ConfigMap.
const recordKey = "drill.json"

// The annotations of that ConfigMap, for tools that read those.
const (
	drillTimeAnnotation   = "neutree.ai/last-drill"
	drillBackupAnnotation = "neutree.ai/last-drill-backup"
	drillResultAnnotation = "neutree.ai/last-drill-result"
)

// drillRecord is how a drill ended.
type drillRecord struct {
	// Time is when it started.
	Time   time.Time `json:"time"`
	Backup string    `json:"backup"`
	// Verdict is passed, failed, or incomplete for a drill that could not find out. Cause says why then.
	Verdict string              `json:"verdict"`
	Cause   string              `json:"cause,omitempty"`
	Result  *backup.DrillResult `json:"result,omitempty"`
}

// note replaces the record by that of the drill which has just ended.
func (d *Drill) note(ctx context.Context, began time.Time, name string, result backup.DrillResult, failure error) error {
	record := drillRecord{Time: began.UTC().Truncate(time.Second), Backup: name}
	if failure != nil {
		record.Verdict, record.Cause = "incomplete", strings.Join(strings.Fields(failure.Error()), " ")
	} else {
		record.Verdict, record.Result = result.Verdict(), &result
	}
	raw, err := json.Marshal(record)
	if err != nil {
		return err
	}
	annotations := kube.NotPruned(nil)
	annotations[drillTimeAnnotation] = stamp(record.Time)
	annotations[drillBackupAnnotation] = name
	annotations[drillResultAnnotation] = record.Verdict
	_, err = d.Client.Apply(ctx, kube.ConfigMaps, d.Namespace, &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: d.Plan.Drill.Record, Labels: d.labels(), Annotations: annotations},
		Data:       map[string]string{recordKey: string(raw)},
	}, false)
	return err
}

// LastDrill says in one sentence how the last drill ended, "" where there was none.
func (r *Runner) LastDrill(ctx context.Context) (string, error) {
	if r.Plan.Drill == nil {
		return "", nil
	}
	config, err := kube.Get[corev1.ConfigMap](ctx, r.Client, kube.ConfigMaps, r.Namespace, r.Plan.Drill.Record)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", kube.Refused(err, "read ConfigMap %s in namespace %s", r.Plan.Drill.Record, r.Namespace)
	}
	var record drillRecord
	if err := json.Unmarshal([]byte(config.Data[recordKey]), &record); err != nil || record.Backup == "" {
		return "", fmt.Errorf("ConfigMap %s in namespace %s has no record of a drill", r.Plan.Drill.Record, r.Namespace)
	}
	said := fmt.Sprintf("last drill %s: backup %s %s", stamp(record.Time), record.Backup, record.Verdict)
	switch {
	case record.Cause != "":
		said = fmt.Sprintf("last drill %s, of backup %s, could not be finished: %s", stamp(record.Time), record.Backup,
			record.Cause)
	case record.Result != nil && len(record.Result.Problems) > 0:
		said += ": " + strings.Join(record.Result.Problems, "; ")
	case record.Result != nil:
		said += fmt.Sprintf(" (%.0f s)", record.Result.Seconds)
	}
	return said, nil
}
