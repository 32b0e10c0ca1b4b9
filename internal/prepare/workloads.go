package prepare

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/neutree-ai/packaging/internal/finding"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// judgeTime bounds the wait for an API server or a webhook that does not answer.
const judgeTime = 30 * time.Second

// judged are the kinds of workloads, and how the API server is asked about them.
var judged = map[string]struct {
	resource schema.GroupVersionResource
	// creates says that the hook may create one in a dry run: a right to create can't be bound to names.
	creates bool
	// replaced are the fields that a patch sets as a whole: what it leaves out is deleted.
	replaced []string
}{
	"Deployment":            {resource: kube.Deployments, replaced: []string{"strategy", "selector", "template"}},
	"DaemonSet":             {resource: kube.DaemonSets, replaced: []string{"updateStrategy", "selector", "template"}},
	"Service":               {resource: kube.Services, creates: true, replaced: []string{"selector"}},
	"PersistentVolumeClaim": {resource: kube.Claims},
}

// workloads lets the API server judge in dry runs what Helm applies after this hook: at a workload that is refused Helm
// stops, when the database is migrated and some services are replaced.
func (p *Prepare) workloads(ctx context.Context) ([]finding.Finding, error) {
	spec := p.Spec.Workloads
	if spec.Manifests == "" {
		return nil, nil
	}
	file, err := hook.ReadSpec[hook.Workloads](spec.Manifests)
	if err != nil {
		return nil, err
	}
	verdicts := make([]*verdict, len(file.Workloads))
	var asked sync.WaitGroup
	for i, workload := range file.Workloads {
		verdicts[i] = &verdict{Prepare: p, workload: workload,
			what: workload.Object.GetKind() + " " + workload.Object.GetName()}
		asked.Go(func() { verdicts[i].err = verdicts[i].judge(ctx) })
	}
	asked.Wait()
	var findings []finding.Finding
	var errs []error
	left := file.Left
	for _, v := range verdicts {
		findings, errs = append(findings, v.findings...), append(errs, v.err)
		left = append(left, v.left...)
	}
	if len(left) > 0 {
		p.Log.Info("not tried before the upgrade", "what", strings.Join(left, ", "))
	}
	if spec.AllowRefused {
		for _, f := range findings {
			p.Log.Warn(f.Sentence(), "finding", f.ID)
		}
		findings = nil
	}
	return findings, errors.Join(errs...)
}

// verdict is what the API server says of one workload.
type verdict struct {
	*Prepare
	workload hook.Workload
	what     string
	findings []finding.Finding
	// left are what could not be tried, and why.
	left []string
	err  error
}

// judge asks about the object, and about its pods where they are new or others than those that run.
func (v *verdict) judge(ctx context.Context) error {
	desired := &v.workload.Object
	kind, known := judged[desired.GetKind()]
	if !known {
		return hook.Errorf(hook.Usage, "spec: workloads: %s is of no kind that can be tried", v.what)
	}
	objects := v.Client.Resource(kind.resource, v.Spec.Namespace)
	live, err := objects.Get(ctx, desired.GetName(), metav1.GetOptions{})
	after := desired
	switch {
	case apierrors.IsNotFound(err):
		live, err = nil, nil
		if !kind.creates {
			v.left = append(v.left, v.what+" (it is new)")
			break
		}
		err = v.ask(ctx, func(ctx context.Context) error {
			_, err := objects.Create(ctx, desired, metav1.CreateOptions{
				DryRun: []string{metav1.DryRunAll}, FieldManager: kube.FieldManager,
				FieldValidation: metav1.FieldValidationStrict,
			})
			return err
		})
	case err != nil:
		return fmt.Errorf("read %s in namespace %s: %w", v.what, v.Spec.Namespace, err)
	default:
		patch, patchErr := json.Marshal(replacement(live.Object, desired.Object, kind.replaced))
		if patchErr != nil {
			return fmt.Errorf("write the patch of %s: %w", v.what, patchErr)
		}
		err = v.ask(ctx, func(ctx context.Context) error {
			var err error
			after, err = objects.Patch(ctx, desired.GetName(), types.MergePatchType, patch, metav1.PatchOptions{
				DryRun: []string{metav1.DryRunAll}, FieldManager: kube.FieldManager,
				FieldValidation: metav1.FieldValidationStrict,
			})
			return err
		})
	}
	if err != nil {
		return v.refusal(v.what, err)
	}
	return v.judgePod(ctx, live, after)
}

// judgePod asks about a pod of the workload. Quotas, limit ranges, Pod Security and most policies look at pods alone.
func (v *verdict) judgePod(ctx context.Context, live, after *unstructured.Unstructured) error {
	template, has, _ := unstructured.NestedMap(after.Object, "spec", "template")
	if !has {
		return nil
	}
	if live != nil {
		if runs, _, _ := unstructured.NestedMap(live.Object, "spec", "template"); reflect.DeepEqual(runs, template) {
			return nil
		}
	}
	pod := &unstructured.Unstructured{Object: map[string]any{"spec": template["spec"]}}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	for _, field := range []string{"labels", "annotations"} {
		if value, has, _ := unstructured.NestedMap(template, "metadata", field); has {
			if err := unstructured.SetNestedMap(pod.Object, value, "metadata", field); err != nil {
				return fmt.Errorf("make a pod of %s: %w", v.what, err)
			}
		}
	}
	pod.SetGenerateName(after.GetName() + "-")
	if v.Spec.Workloads.BringsPriorityClasses {
		unstructured.RemoveNestedField(pod.Object, "spec", "priorityClassName")
	}
	err := v.askPod(ctx, pod)
	what := "pods of " + v.what
	if account := v.Spec.Workloads.Account; kube.NoServiceAccount(err) && account != "" {
		// Helm creates it later. Policies and SecurityContextConstraints may make a difference between the two.
		missing := err
		if err := unstructured.SetNestedField(pod.Object, account, "spec", "serviceAccountName"); err != nil {
			return fmt.Errorf("make a pod of %s: %w", v.what, err)
		}
		if err = v.askPod(ctx, pod); err != nil && !anyAccount(err) {
			v.left = append(v.left, fmt.Sprintf("%s (%s; as ServiceAccount %s: %s)", what, kube.Brief(missing), account,
				kube.Brief(err)))
			return nil
		}
	}
	if m := exceeded.FindStringSubmatch(message(err)); m != nil {
		if own := v.Spec.Workloads.HookResources; replacedFirst(live, after) || fits(m, own) {
			v.Log.Info("a quota has no room for one more pod now", "workload", v.what, "cause", kube.Brief(err))
			return nil
		}
	}
	return v.refusal(what, err)
}

func (v *verdict) askPod(ctx context.Context, pod *unstructured.Unstructured) error {
	return v.ask(ctx, func(ctx context.Context) error {
		_, err := v.Client.Resource(kube.Pods, v.Spec.Namespace).Create(ctx, pod, metav1.CreateOptions{
			DryRun: []string{metav1.DryRunAll}, FieldManager: kube.FieldManager,
			FieldValidation: metav1.FieldValidationStrict,
		})
		return err
	})
}

// anyAccount says whether a pod gets this answer whatever its ServiceAccount is.
func anyAccount(err error) bool {
	text := message(err)
	return strings.Contains(text, "violates PodSecurity") || strings.Contains(text, "no PriorityClass with name") ||
		overQuota(text) || apierrors.IsInvalid(err) && !denies(err) || kube.AdmissionWebhookDown(err) ||
		kube.MissingPermission(err) != "" || !kube.Permanent(err) && !denies(err)
}

// overQuota says whether a quota or a limit range refuses.
func overQuota(text string) bool {
	return strings.Contains(text, "exceeded quota") || strings.Contains(text, "failed quota") ||
		strings.Contains(text, " usage per ") || strings.Contains(text, "limit to request ratio")
}

// replacedFirst says whether the old pods of a workload end before new ones start, and leave their part of a quota.
func replacedFirst(live, after *unstructured.Unstructured) bool {
	if live == nil {
		return false
	}
	kind, _, _ := unstructured.NestedString(after.Object, "spec", "strategy", "type")
	surge, _, _ := unstructured.NestedFieldNoCopy(after.Object, "spec", "strategy", "rollingUpdate", "maxSurge")
	return after.GetKind() != "Deployment" || kind == "Recreate" || fmt.Sprint(surge) == "0"
}

// ask repeats a dry run while the API server, or a webhook that it asks, gives no answer.
func (v *verdict) ask(ctx context.Context, try func(context.Context) error) error {
	patient, cancel := context.WithTimeout(ctx, cmp.Or(v.JudgeTime, judgeTime))
	defer cancel()
	var last error
	err := hook.Poll(patient, v.Log, "an answer about "+v.what, func(ctx context.Context) (bool, string, error) {
		err := try(ctx)
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if err == nil || !kube.AdmissionWebhookDown(err) && !kube.Unanswered(err) || denies(err) {
			return true, "", nil
		}
		return false, kube.Brief(err), nil
	})
	if ctx.Err() != nil {
		return err
	}
	return last
}

// denies says whether a webhook has judged and refused. It may choose any code.
func denies(err error) bool {
	return strings.Contains(message(err), "denied the request") || kube.NoDryRun(err)
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// refusal makes a finding of an answer, or notes that there was none.
func (v *verdict) refusal(what string, err error) error {
	text := message(err)
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case kube.NoDryRun(err), kube.NoServiceAccount(err):
		v.left = append(v.left, what+" ("+kube.Brief(err)+")")
		return nil
	case strings.Contains(text, "port is already allocated"), strings.Contains(text, "not in the valid range"):
		// guard says which Service has the port.
		return nil
	}
	f := finding.Finding{
		ID: finding.AdmissionPolicy, Severity: finding.Error, Value: v.workload.Value,
		Object: fmt.Sprintf("%s %s/%s", v.workload.Object.GetKind(), v.Spec.Namespace, v.workload.Object.GetName()),
		Found:  fmt.Sprintf("the API server refuses %s of the new version (%s)", what, kube.Brief(err)),
		Why:    "Helm would stop at it half-way, after the database was migrated",
		Fix: fmt.Sprintf("fix the values below %s, or the policy that refuses; if only dry runs are refused, "+
			"--set global.upgrade.allowRefusedWorkloads=true", v.workload.Value),
	}
	switch {
	case kube.MissingPermission(err) != "", !kube.Permanent(err) && !kube.AdmissionWebhookDown(err) && !denies(err):
		return fmt.Errorf("try %s in namespace %s: %w", what, v.Spec.Namespace, err)
	case strings.Contains(text, "violates PodSecurity"):
		f.ID = finding.AdmissionPodSecurity
	case strings.Contains(text, "no PriorityClass with name"):
		f.ID = finding.AdmissionPriority
		f.Fix = fmt.Sprintf("create the PriorityClass, or fix priorityClassName below %s or global.scheduling",
			v.workload.Value)
	case kube.AdmissionWebhookDown(err):
		f.Fix = fmt.Sprintf("start webhook %s again, then repeat the upgrade", kube.FailedWebhook(err))
	case overQuota(text):
		f.ID = finding.AdmissionQuota
		f.Fix = fmt.Sprintf("fix resources below %s, or raise the quota or limit range", v.workload.Value)
	}
	v.findings = append(v.findings, f)
	return nil
}

// replacement is a merge patch that makes live what desired says. Of the fields below spec that are replaced nothing
// stays that desired does not have: Helm removes what an earlier revision had, such as a limit.
func replacement(live, desired map[string]any, replaced []string) map[string]any {
	patch := map[string]any{}
	metadata, _ := desired["metadata"].(map[string]any)
	changed := map[string]any{}
	for _, key := range []string{"labels", "annotations"} {
		if value, has := metadata[key]; has {
			changed[key] = value
		}
	}
	patch["metadata"] = changed
	spec, _ := desired["spec"].(map[string]any)
	was, _ := live["spec"].(map[string]any)
	merged := maps.Clone(spec)
	for _, key := range replaced {
		old, is := was[key].(map[string]any)
		if next, has := spec[key].(map[string]any); is && has {
			merged[key] = overwrite(old, next)
		}
	}
	patch["spec"] = merged
	return patch
}

// overwrite is a merge patch from one object to another. Annotations stay, since not only Helm adds some.
func overwrite(old, next map[string]any) map[string]any {
	patch := map[string]any{}
	for key, value := range next {
		before, was := old[key].(map[string]any)
		if nested, is := value.(map[string]any); is && was && key != "annotations" {
			value = overwrite(before, nested)
		}
		patch[key] = value
	}
	for key := range old {
		if _, stays := next[key]; !stays && key != "annotations" {
			patch[key] = nil
		}
	}
	return patch
}
