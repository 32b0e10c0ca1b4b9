package chart_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

// eachWorkload runs check on every service of the platform, of the core and of all modules.
func eachWorkload(t *testing.T, check func(*testing.T, contract.Workload, []chart.Object)) {
	t.Helper()
	main := ours(renderAll(t).Main())
	if found, want := len(workloads(main)), len(contract.Workloads())+len(contract.ModuleWorkloads()); found != want {
		t.Errorf("%d services are rendered, want %d", found, want)
	}
	for _, w := range workloads(main) {
		t.Run(w.FullName(prefix), func(t *testing.T) { check(t, w, main) })
	}
}

// isFront says whether a container is the one by which users come from a node port.
func isFront(c corev1.Container) bool { return c.Name == platform.TheFront().Name }

// main is the workload's own container.
func mainContainer(t *testing.T, w contract.Workload, objects []chart.Object) (pod, corev1.Container) {
	t.Helper()
	p := podOf(t, objects, "Deployment", w.FullName(prefix))
	want := 1
	if w.Name == "cp" && slices.ContainsFunc(p.spec().Containers, isFront) {
		want++
	}
	if len(p.spec().Containers) != want {
		t.Errorf("%s: %d containers beside the init containers, want %s alone", p.from, len(p.spec().Containers), w.Container)
	}
	return p, p.container(t, w.Container)
}

func TestSelectorsAreTheNameAlone(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		name := w.FullName(prefix)
		want := map[string]string{"app": name}
		deployment := find[*appsv1.Deployment](t, objects, namespace, name)
		if got := deployment.Spec.Selector; !maps.Equal(got.MatchLabels, want) || len(got.MatchExpressions) > 0 {
			t.Errorf("Deployment %s: spec.selector = %v, want matchLabels %v alone: it can't be changed later", name, got, want)
		}
		if got := deployment.Spec.Template.Labels["app"]; got != name {
			t.Errorf("Deployment %s: spec.template.metadata.labels.app = %q, want %q", name, got, name)
		}
		if w.ServicePort == 0 {
			return
		}
		service := find[*corev1.Service](t, objects, namespace, name)
		if !maps.Equal(service.Spec.Selector, want) {
			t.Errorf("Service %s: spec.selector = %v, want %v", name, service.Spec.Selector, want)
		}
	})
}

func TestRecommendedLabels(t *testing.T) {
	for _, object := range ours(renderAll(t).Objects) {
		for key, want := range map[string]string{
			"app.kubernetes.io/name": "", "app.kubernetes.io/instance": releaseName,
			"app.kubernetes.io/part-of": "neutree", "app.kubernetes.io/managed-by": "Helm",
		} {
			if got := object.GetLabels()[key]; got == "" || want != "" && got != want {
				t.Errorf("%s: metadata.labels[%s] = %q, want %q", object, key, got, want)
			}
		}
	}
	for _, p := range pods(t, ours(renderAll(t).Main())) {
		for _, key := range []string{"helm.sh/chart", "app.kubernetes.io/version"} {
			if _, found := p.template.Labels[key]; found && p.from.GetKind() == "Deployment" {
				t.Errorf("%s: pod label %s changes with every chart version and restarts the service", p.from, key)
			}
		}
	}
}

func TestContainersKeepTheImagesOwnStart(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		p, c := mainContainer(t, w, objects)
		if c.WorkingDir != "" {
			t.Errorf("%s: %s sets workingDir, from which the image reads its files", p.from, w.Container)
		}
		first := strings.HasPrefix(w.Image, "afs") || w.Image == "officeConverter" || w.Image == "coturn"
		if !first && len(c.Command)+len(c.Args) > 0 {
			t.Errorf("%s: %s sets command or args, want the image's own", p.from, w.Container)
		}
	})
}

func TestPortsAndProbes(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		p, c := mainContainer(t, w, objects)
		if w.Port == 0 {
			return
		}
		if _, found := portNumber(c, intstr.FromInt32(w.Port)); !found {
			t.Errorf("%s: %s lists the ports %v, want %d", p.from, w.Container, c.Ports, w.Port)
		}
		service := find[*corev1.Service](t, objects, namespace, w.FullName(prefix))
		if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Port != w.ServicePort {
			t.Errorf("Service %s: spec.ports = %v, want %d alone", service.Name, service.Spec.Ports, w.ServicePort)
		} else if got, _ := portNumber(c, service.Spec.Ports[0].TargetPort); got != w.Port {
			t.Errorf("Service %s: its port leads to %d of %s, want %d", service.Name, got, w.Container, w.Port)
		}
		for name, probe := range map[string]*corev1.Probe{
			"readinessProbe": c.ReadinessProbe, "livenessProbe": c.LivenessProbe, "startupProbe": c.StartupProbe} {
			if err := checkProbe(c, w, probe); err != nil && (probe != nil || name != "startupProbe") {
				t.Errorf("%s: %s.%s %v", p.from, w.Container, name, err)
			}
		}
		if c.StartupProbe == nil && w.Migrations != "" {
			t.Errorf("%s: %s has no startupProbe: a slow start would be killed by its livenessProbe", p.from, w.Container)
		}
	})
}

func checkProbe(c corev1.Container, w contract.Workload, probe *corev1.Probe) error {
	switch {
	case probe == nil:
		return fmt.Errorf("is missing")
	case w.Health == "" && probe.TCPSocket == nil:
		return fmt.Errorf("is no tcpSocket, and the service answers nothing else")
	case w.Health == "":
		if got, _ := portNumber(c, probe.TCPSocket.Port); got != w.Port {
			return fmt.Errorf("connects to port %s, want %d", probe.TCPSocket.Port.String(), w.Port)
		}
	case probe.HTTPGet == nil:
		return fmt.Errorf("is no httpGet of %s", w.Health)
	default:
		if got, _ := portNumber(c, probe.HTTPGet.Port); got != w.Port || probe.HTTPGet.Path != w.Health {
			return fmt.Errorf("asks %s:%s, want %s on %d", probe.HTTPGet.Path, probe.HTTPGet.Port.String(), w.Health, w.Port)
		}
	}
	return nil
}

// portNumber resolves a port of a container, by its name or number.
func portNumber(c corev1.Container, port intstr.IntOrString) (int32, bool) {
	for _, listed := range c.Ports {
		if port.Type == intstr.String && listed.Name == port.StrVal || port.Type == intstr.Int && listed.ContainerPort == port.IntVal {
			return listed.ContainerPort, true
		}
	}
	return 0, false
}

func TestRollouts(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		deployment := find[*appsv1.Deployment](t, objects, namespace, w.FullName(prefix))
		if replicas := deployment.Spec.Replicas; replicas != nil && *replicas != 1 {
			t.Errorf("%s: replicas = %d, want 1: it keeps state in memory", deployment.Name, *replicas)
		}
		_, c := mainContainer(t, w, objects)
		strategy := deployment.Spec.Strategy
		switch w.Rollout {
		case platform.Recreate:
			if strategy.Type != appsv1.RecreateDeploymentStrategyType || strategy.RollingUpdate != nil {
				t.Errorf("%s: strategy = %+v, want Recreate: two pods at once do harm", deployment.Name, strategy)
			}
		case platform.Surge:
			rolling := strategy.RollingUpdate
			if strategy.Type != appsv1.RollingUpdateDeploymentStrategyType || rolling == nil ||
				rolling.MaxSurge.String() != "1" || rolling.MaxUnavailable.String() != "0" {
				t.Errorf("%s: strategy = %+v, want RollingUpdate with maxSurge 1 and maxUnavailable 0", deployment.Name, strategy)
			}
			if hook := c.Lifecycle; hook == nil || hook.PreStop == nil || hook.PreStop.Exec == nil {
				t.Errorf("%s: %s has no lifecycle.preStop.exec: it would stop before the nodes stop sending to it", deployment.Name, w.Container)
			}
		}
		if hook := c.Lifecycle; hook != nil && hook.PreStop != nil && hook.PreStop.Sleep != nil {
			t.Errorf("%s: %s uses lifecycle.preStop.sleep, which Kubernetes 1.28 does not have", deployment.Name, w.Container)
		}
	})
}

// Switching between the two must stay possible: a Deployment refuses Recreate while it holds rollingUpdate.
func TestSurgeCanBeTurnedOff(t *testing.T) {
	objects := ours(render(t, "global.rollout.surge=false").Main())
	for _, w := range contract.Workloads() {
		if w.Rollout != platform.Surge {
			continue
		}
		strategy := find[*appsv1.Deployment](t, objects, namespace, w.FullName(prefix)).Spec.Strategy
		if strategy.RollingUpdate == nil || strategy.RollingUpdate.MaxSurge.String() != "0" || strategy.RollingUpdate.MaxUnavailable.String() != "1" {
			t.Errorf("global.rollout.surge=false: %s has the strategy %+v, want RollingUpdate with maxSurge 0 and maxUnavailable 1", w.FullName(prefix), strategy)
		}
	}
}

// What users set last wins, and is not told twice.
func TestExtraEnvWins(t *testing.T) {
	p := podOf(t, renderFor(t, target{json: []string{
		`controlPlane.cp.extraEnv=[{"name":"CG_URL","value":"http://elsewhere:3002"},{"name":"HTTPS_PROXY","value":"http://proxy:3128"}]`,
	}}).Main(), "Deployment", "nap-cp")
	set := variables(t, p, p.container(t, "control-plane"))
	for name, want := range map[string]string{"CG_URL": "http://elsewhere:3002", "HTTPS_PROXY": "http://proxy:3128"} {
		if got := set[name].Value; got != want {
			t.Errorf("%s: %s = %q, want %q", p.from, name, got, want)
		}
	}
}

func TestStopSignals(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		if w.StopSignal == "" {
			return
		}
		p, c := mainContainer(t, w, objects)
		if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Exec == nil {
			t.Fatalf("%s: %s has no lifecycle.preStop.exec that sends SIG%s, the only signal it ends on", p.from, w.Container, w.StopSignal)
		}
		command := c.Lifecycle.PreStop.Exec.Command
		if command[0] != "node" || !strings.Contains(strings.Join(command, " "), "SIG"+w.StopSignal) {
			t.Errorf("%s: %s preStop runs %q, want node to send SIG%s: the image has no kill", p.from, w.Container, command, w.StopSignal)
		}
		if grace := p.spec().TerminationGracePeriodSeconds; grace == nil || *grace < 45 {
			t.Errorf("%s: terminationGracePeriodSeconds = %v, want 45 or more for running jobs to end", p.from, grace)
		}
	})
}

func TestReadOnlyRootsLeaveWhatMustBeWritten(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		if w.Writable == nil {
			return
		}
		p, c := mainContainer(t, w, objects)
		if c.SecurityContext == nil || c.SecurityContext.ReadOnlyRootFilesystem == nil || !*c.SecurityContext.ReadOnlyRootFilesystem {
			t.Errorf("%s: %s can write its root file system", p.from, w.Container)
		}
		for _, dir := range w.Writable {
			mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
				return !m.ReadOnly && (m.MountPath == dir || strings.HasPrefix(dir, m.MountPath+"/"))
			})
			if !mounted {
				t.Errorf("%s: %s has no writable volume at %s", p.from, w.Container, dir)
			}
		}
	})
}

func TestEveryContainerHasResources(t *testing.T) {
	for _, p := range pods(t, ours(renderAll(t).Objects)) {
		for _, c := range p.containers() {
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				if c.Resources.Requests.Name(name, "").IsZero() {
					t.Errorf("%s: container %s: resources.requests.%s is missing", p.from, c.Name, name)
				}
			}
			if c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: container %s: resources.limits.memory is missing", p.from, c.Name)
			}
		}
	}
}

func TestExposure(t *testing.T) {
	service := find[*corev1.Service](t, render(t, "global.exposure.nodePorts.web=31234").Objects, namespace, "nap-cp")
	if service.Spec.Type != corev1.ServiceTypeNodePort || service.Spec.Ports[0].NodePort != 31234 {
		t.Errorf("Service nap-cp: type %s, nodePort %d, want NodePort on 31234", service.Spec.Type, service.Spec.Ports[0].NodePort)
	}
	for _, object := range ours(render(t).Objects) {
		if object.GetKind() != "Service" || object.GetName() == "nap-cp" {
			continue
		}
		if made := typed(t, object).(*corev1.Service); made.Spec.Type != corev1.ServiceTypeClusterIP && made.Spec.Type != "" {
			t.Errorf("%s: type %s, want ClusterIP: only the control plane is for users", object, made.Spec.Type)
		}
	}
}

// Helm 4, Flux and ArgoCD take a Deployment for failed that made no progress within its deadline.
func TestWaitingIsNoFailure(t *testing.T) {
	eachWorkload(t, func(t *testing.T, w contract.Workload, objects []chart.Object) {
		deployment := find[*appsv1.Deployment](t, objects, namespace, w.FullName(prefix))
		deadline := int32(600) // what Kubernetes sets
		if deployment.Spec.ProgressDeadlineSeconds != nil {
			deadline = *deployment.Spec.ProgressDeadlineSeconds
		}
		for _, c := range deployment.Spec.Template.Spec.InitContainers {
			for _, arg := range c.Args {
				value, ok := strings.CutPrefix(arg, "--timeout=")
				if !ok {
					continue
				}
				wait, err := time.ParseDuration(value)
				if err != nil || time.Duration(deadline)*time.Second <= wait {
					t.Errorf("%s: progressDeadlineSeconds is %d, while init container %s may wait %s (%v)", deployment.Name, deadline, c.Name, value, err)
				}
			}
		}
	})
}

// A class that was chosen once is kept, so the one for volumes of several nodes is chosen on its own.
func TestClassesOfWorkspacesAreKeptApart(t *testing.T) {
	key := func(set ...string) string {
		p := podOf(t, render(t, set...).Main(), "Deployment", "nap-cp")
		return variables(t, p, p.container(t, "control-plane"))["AGENT_STORAGE_CLASS"].ValueFrom.ConfigMapKeyRef.Key
	}
	if one, several := key(), key("global.workspaces.multiReplica=true"); one == several {
		t.Errorf("AGENT_STORAGE_CLASS is read from key %s whether or not workspaces have several replicas", one)
	}
}
