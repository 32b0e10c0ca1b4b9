package main

import (
	"context"
	"fmt"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/hook"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/ignore"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// manager is the field manager of ArgoCD's server-side apply.
const manager = "argocd-controller"

// Settings are those of an Application.
type Settings struct {
	Name, Namespace        string
	Tracking               string
	Prune, CreateNamespace bool
}

// Application is a set of manifests and the cluster it belongs to.
type Application struct {
	Settings

	config   *rest.Config
	targets  []*unstructured.Unstructured
	cluster  cache.ClusterCache
	kubectl  kube.Kubectl
	reporter *reporter
	// updated gets a value when an object of the cluster has changed.
	updated     chan struct{}
	unsubscribe func()
	// compared are the results of earlier comparisons, which are dear, by what was compared.
	compared map[string]bool
}

// info is what the cache keeps of each object.
type info struct{ tracked bool }

// excluded are the kinds that ArgoCD leaves out unless it is configured otherwise.
type excluded struct{}

func (excluded) IsExcludedResource(group, kind, _ string) bool {
	switch group + "/" + kind {
	case "/Event", "/Endpoints", "discovery.k8s.io/EndpointSlice", "coordination.k8s.io/Lease",
		"apiregistration.k8s.io/APIService", "certificates.k8s.io/CertificateSigningRequest":
		return true
	}
	switch group {
	case "events.k8s.io", "metrics.k8s.io", "authentication.k8s.io", "authorization.k8s.io":
		return true
	}
	return false
}

// Open fills the cache of the cluster.
func Open(
	config *rest.Config, settings Settings, manifests []*unstructured.Unstructured, reporter *reporter,
) (*Application, error) {
	a := &Application{
		Settings: settings, config: config, reporter: reporter, targets: manifests,
		kubectl: &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}},
		updated: make(chan struct{}, 1), compared: map[string]bool{},
	}
	a.cluster = cache.NewClusterCache(config,
		cache.SetKubectl(a.kubectl), cache.SetLogr(logr.Discard()),
		cache.SetSettings(cache.Settings{ResourcesFilter: excluded{}}),
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, isRoot bool) (any, bool) {
			tracked := isRoot && a.tracked(object)
			return &info{tracked: tracked}, tracked || kube.IsCRD(object)
		}))
	if err := a.cluster.EnsureSynced(); err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	for _, object := range a.targets {
		// Which are not namespaced is not known of the kinds that the manifests define; they name theirs.
		namespaced, err := a.cluster.IsNamespaced(object.GroupVersionKind().GroupKind())
		switch {
		case err == nil && !namespaced:
			object.SetNamespace("")
		case err == nil && object.GetNamespace() == "":
			object.SetNamespace(a.Namespace)
		}
		a.track(object)
	}
	changed := func(*cache.Resource, *cache.Resource, map[kube.ResourceKey]*cache.Resource) {
		select {
		case a.updated <- struct{}{}:
		default:
		}
	}
	a.unsubscribe = a.cluster.OnResourceUpdated(changed)
	return a, nil
}

// Close ends the watches.
func (a *Application) Close() {
	a.unsubscribe()
	a.cluster.Invalidate()
}

// live are the objects of the cluster that are tracked, or among the targets.
func (a *Application) live(
	targets []*unstructured.Unstructured,
) (map[kube.ResourceKey]*unstructured.Unstructured, error) {
	live, err := a.cluster.GetManagedLiveObjs(targets, func(r *cache.Resource) bool {
		known, is := r.Info.(*info)
		return is && known.tracked
	})
	if err != nil {
		return nil, fmt.Errorf("find the live objects: %w", err)
	}
	return live, nil
}

// reconcile pairs targets with live objects. What belongs to a deletion is no part of a sync.
func (a *Application) reconcile() (sync.ReconciliationResult, error) {
	var targets []*unstructured.Unstructured
	for _, target := range a.targets {
		if !isHookOf(target, preDelete) && !isHookOf(target, postDelete) || len(hook.Types(target)) > 0 {
			targets = append(targets, target.DeepCopy())
		}
	}
	live, err := a.live(targets)
	if err != nil {
		return sync.ReconciliationResult{}, err
	}
	return sync.Reconcile(targets, live, a.Namespace, a.cluster), nil
}

// Sync runs one operation to its end: hooks, and everything.
func (a *Application) Sync(ctx context.Context) error { return a.operate(ctx, nil) }

// operate runs one operation, on some of the objects only if they are named. Then, as in ArgoCD, hooks do not run.
func (a *Application) operate(ctx context.Context, only map[kube.ResourceKey]bool) error {
	var (
		began   = metav1.Now()
		phase   = common.OperationRunning
		message string
		results []common.ResourceSyncResult
		said    = map[string]string{}
	)
	for {
		var err error
		phase, message, results, err = a.step(ctx, phase, message, results, began, only)
		if err != nil {
			return err
		}
		for _, result := range results {
			a.reportResult(result, said)
		}
		if phase.Completed() {
			break
		}
		select {
		case <-ctx.Done():
			return a.terminate(context.WithoutCancel(ctx), phase, message, results, began, only, ctx.Err())
		case <-a.updated:
		case <-time.After(time.Second):
		}
	}
	a.reporter.report(Event{
		Event: "operation", Phase: string(phase), Message: message, Seconds: time.Since(began.Time).Seconds(),
	})
	if !phase.Successful() {
		return fmt.Errorf("the sync has ended as %s: %s", phase, message)
	}
	return nil
}

// step does what ArgoCD's controller does each time it looks at a running operation: compare again, and let the engine
// take it one step further.
func (a *Application) step(
	ctx context.Context, phase common.OperationPhase, message string, results []common.ResourceSyncResult,
	began metav1.Time, only map[kube.ResourceKey]bool,
) (common.OperationPhase, string, []common.ResourceSyncResult, error) {
	engine, cleanup, err := a.engine(ctx, phase, message, results, began, only)
	if err != nil {
		return "", "", nil, err
	}
	defer cleanup()
	engine.Sync()
	phase, message, results = engine.GetState()
	return phase, message, results, nil
}

// terminate stops the hooks that are running.
func (a *Application) terminate(
	ctx context.Context, phase common.OperationPhase, message string, results []common.ResourceSyncResult,
	began metav1.Time, only map[kube.ResourceKey]bool, cause error,
) error {
	engine, cleanup, err := a.engine(ctx, phase, message, results, began, only)
	if err != nil {
		return err
	}
	defer cleanup()
	engine.Terminate()
	return fmt.Errorf("the sync was ended while %s: %w", message, cause)
}

func (a *Application) engine(
	ctx context.Context, phase common.OperationPhase, message string, results []common.ResourceSyncResult,
	began metav1.Time, only map[kube.ResourceKey]bool,
) (sync.SyncContext, func(), error) {
	reconciled, err := a.reconcile()
	if err != nil {
		return nil, nil, err
	}
	foreground := metav1.DeletePropagationForeground
	options := []sync.SyncOpt{
		sync.WithLogr(logr.Discard()),
		sync.WithOperationSettings(false, a.Prune, false, only != nil),
		sync.WithInitialState(phase, message, results, began),
		sync.WithResourcesFilter(func(key kube.ResourceKey, _, live *unstructured.Unstructured) bool {
			return (only == nil || only[key]) && a.itself(live)
		}),
		sync.WithSyncWaveHook(pauseBetweenWaves(ctx)),
		sync.WithPrunePropagationPolicy(&foreground),
		sync.WithServerSideApply(true),
		sync.WithServerSideApplyManager(manager),
	}
	if a.CreateNamespace {
		options = append(options, sync.WithNamespaceModifier(func(_, live *unstructured.Unstructured) (bool, error) {
			return live == nil, nil
		}))
	}
	engine, cleanup, err := sync.NewSyncContext("", reconciled, a.config, a.config, a.kubectl, a.Namespace, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("start the sync engine: %w", err)
	}
	return engine, cleanup, nil
}

// pauseBetweenWaves gives controllers the two seconds that ArgoCD gives them.
func pauseBetweenWaves(ctx context.Context) common.SyncWaveHook {
	return func(_ common.SyncPhase, _ int, final bool) error {
		if final {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
			return nil
		}
	}
}

func (a *Application) reportResult(result common.ResourceSyncResult, said map[string]string) {
	object := name(result.ResourceKey)
	status := string(result.Status)
	if result.HookType != "" || result.Status == "" {
		status = string(result.HookPhase)
	}
	key, text := object+string(result.SyncPhase), status+result.Message
	if said[key] == text {
		return
	}
	said[key] = text
	a.reporter.report(Event{
		Event: "result", Object: object, Phase: string(result.SyncPhase), Status: status, Message: result.Message,
	})
}

// healAfter is how long after an operation ArgoCD begins the next one that heals.
const healAfter = 5 * time.Second

// Heal syncs what drifts, until ctx ends.
func (a *Application) Heal(ctx context.Context, timeout time.Duration) error {
	ended := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.updated:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(ended.Add(healAfter))):
		}
		drifted, err := a.drift(ctx)
		if err == nil && len(drifted) > 0 {
			limited, cancel := context.WithTimeout(ctx, timeout)
			err = a.operate(limited, drifted)
			cancel()
			ended = time.Now()
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// drift are the objects that ArgoCD shows as OutOfSync and would sync.
func (a *Application) drift(ctx context.Context) (map[kube.ResourceKey]bool, error) {
	reconciled, err := a.reconcile()
	if err != nil {
		return nil, err
	}
	applier, cleanup, err := a.kubectl.ManageServerSideDiffDryRuns(a.config)
	if err != nil {
		return nil, fmt.Errorf("prepare dry-runs: %w", err)
	}
	defer cleanup()
	drifted := map[kube.ResourceKey]bool{}
	for i, target := range reconciled.Target {
		live := reconciled.Live[i]
		object := live
		if object == nil {
			object = target
		}
		if hook.IsHook(object) || ignore.Ignore(object) || !a.itself(live) {
			continue
		}
		key := kube.GetResourceKey(object)
		if target == nil {
			if a.Prune && !a.extraneous(object) {
				drifted[key] = true
				a.reporter.report(Event{Event: "drift", Object: name(key), Message: "requires pruning"})
			}
			continue
		}
		differs, err := a.differs(target, live, applier)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", name(key), err)
		}
		if differs && ctx.Err() == nil {
			drifted[key] = true
			a.reporter.report(Event{Event: "drift", Object: name(key)})
		}
	}
	return drifted, nil
}

// extraneous says that an object which is not rendered does not make the Application OutOfSync.
func (a *Application) extraneous(live *unstructured.Unstructured) bool {
	return hasOption(live, "argocd.argoproj.io/compare-options", "IgnoreExtraneous")
}

func (a *Application) differs(target, live *unstructured.Unstructured, applier diff.KubeApplier) (bool, error) {
	if live == nil {
		return true, nil
	}
	key := string(live.GetUID()) + "/" + live.GetResourceVersion()
	if differs, known := a.compared[key]; known {
		return differs, nil
	}
	result, err := diff.Diff(target, live,
		diff.WithLogr(logr.Discard()), diff.WithNormalizer(withoutStatus{}), diff.WithManager(manager),
		diff.WithGVKParser(a.cluster.GetGVKParser()), diff.WithServerSideDiff(true),
		diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier)))
	if err != nil {
		return false, err
	}
	a.compared[key] = result.Modified
	return result.Modified, nil
}

// withoutStatus leaves the status out of a comparison, as ArgoCD does.
type withoutStatus struct{}

func (withoutStatus) Normalize(object *unstructured.Unstructured) error {
	unstructured.RemoveNestedField(object.Object, "status")
	return nil
}
