package chart_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/neutree-ai/packaging/internal/chart"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/platform"
	"github.com/neutree-ai/packaging/test/contract"
)

const (
	closes = "global.exposure.internalPaths=closed"
	opens  = "global.exposure.internalPaths=open"
)

// services answers as a cluster that has Services of these names and types, and no others. Its CustomResourceDefinitions
// belong to no Service.
func services(types map[string]string) func(chart.Lookup) map[string]any {
	return func(asked chart.Lookup) map[string]any {
		kind, has := types[asked.Name]
		switch {
		case asked.Kind == "Namespace" && asked.Name == "kube-system", asked.Kind == "CustomResourceDefinition":
			return map[string]any{"metadata": map[string]any{"name": asked.Name, "uid": "1"}}
		case asked.Kind != "Service" || asked.Namespace != namespace || !has:
			return nil
		}
		return map[string]any{"metadata": map[string]any{"name": asked.Name}, "spec": map[string]any{"type": kind}}
	}
}

// portHolder is the Service that has the node port of the web interface.
func portHolder(t *testing.T, objects []chart.Object) *corev1.Service {
	t.Helper()
	var found *corev1.Service
	for _, object := range objects {
		service, is := typed(t, object).(*corev1.Service)
		if !is || service.Spec.Type != corev1.ServiceTypeNodePort {
			continue
		}
		for _, port := range service.Spec.Ports {
			if port.NodePort != 30080 {
				continue
			}
			if found != nil {
				t.Errorf("Services %s and %s have the same node port", found.Name, service.Name)
			}
			found = service
		}
	}
	return found
}

func TestWhoHasTheNodePort(t *testing.T) {
	for name, c := range map[string]struct {
		to   target
		want string
	}{
		"a new installation": {target{answer: services(nil)}, "nap-front"},
		"its next upgrade": {target{upgrade: true,
			answer: services(map[string]string{"nap-cp": "ClusterIP", "nap-front": "NodePort"})}, "nap-front"},
		"an upgrade from 0.1.0":         {target{upgrade: true, answer: services(map[string]string{"nap-cp": "NodePort"})}, "nap-cp"},
		"an installation without Helm":  {target{answer: services(map[string]string{"nap-cp": "NodePort"})}, "nap-cp"},
		"users came by an Ingress":      {target{upgrade: true, answer: services(map[string]string{"nap-cp": "ClusterIP"})}, "nap-front"},
		"no cluster to ask":             {target{}, "nap-cp"},
		"no cluster to ask, an upgrade": {target{upgrade: true}, "nap-cp"},
		"closed": {target{upgrade: true, set: []string{closes}, answer: services(map[string]string{"nap-cp": "NodePort"})},
			"nap-front"},
		"closed, no cluster to ask": {target{set: []string{closes}}, "nap-front"},
		"open": {target{upgrade: true, set: []string{opens},
			answer: services(map[string]string{"nap-cp": "ClusterIP", "nap-front": "NodePort"})}, "nap-cp"},
	} {
		t.Run(name, func(t *testing.T) {
			rendered := renderFor(t, c.to)
			holder := portHolder(t, rendered.Objects)
			if holder == nil || holder.Name != c.want {
				t.Fatalf("the node port belongs to %v, want Service %s", holder, c.want)
			}
			open := c.want == "nap-cp"
			if says := strings.Contains(rendered.Notes, "opens all paths of the control plane"); says != open {
				t.Errorf("NOTES.txt warns of open paths: %t, want %t\n%s", says, open, rendered.Notes)
			}
			wantPortChecks(t, rendered.Objects, c.want, c.to.upgrade && slices.Contains(c.to.set, closes))
			// Who opens them by a value knows.
			said := int32(0)
			if open && !slices.Contains(c.to.set, opens) {
				said = 30080
			}
			job := jobs(t, rendered.Objects)["bootstrap"]
			up := specOf[hook.BootstrapSpec](t, rendered.Objects, specConfigMap(t, job), "bootstrap")
			if up.OpenNodePort != said {
				t.Errorf("bootstrap warns of open paths on port %d, want %d", up.OpenNodePort, said)
			}
		})
	}
}

// wantPortChecks asserts what the hooks know of the port: who may have it now, what gives it up, and with what it ends.
// Only an upgrade that was told to close the paths could go back to version 0.1.0.
func wantPortChecks(t *testing.T, objects []chart.Object, holder string, ties bool) {
	t.Helper()
	other := map[string]string{"nap-cp": "nap-front", "nap-front": "nap-cp"}[holder]
	spec := specOf[hook.PrepareSpec](t, objects, specConfigMap(t, jobs(t, objects)["prepare"]), "prepare")
	back := specOf[hook.RollbackSpec](t, objects, specConfigMap(t, jobs(t, objects)["rollback"]), "rollback")
	up := specOf[hook.BootstrapSpec](t, objects, specConfigMap(t, jobs(t, objects)["bootstrap"]), "bootstrap")
	guard := spec.Guard.NodePorts
	if len(guard) != 1 || guard[0].Service != holder || !slices.Equal(guard[0].Before, []string{other}) {
		t.Errorf("guard checks %+v, want the port of %s, which %s may have before", guard, holder, other)
	}
	frees := ""
	if holder == "nap-cp" {
		frees = "nap-front"
	}
	if spec.FreePortOf != frees || back.FreePortOf != frees {
		t.Errorf("an upgrade deletes Service %q and a rollback %q, want %q", spec.FreePortOf, back.FreePortOf, frees)
	}
	tied := hook.BootstrapFront{}
	if ties {
		tied = hook.BootstrapFront{Service: "nap-front", ConfigMap: "nap-rollback"}
	}
	if up.Front != tied {
		t.Errorf("bootstrap ties %+v, want %+v", up.Front, tied)
	}
	// Helm deletes it before a rollback to version 0.1.0, and must not before one to this version.
	for _, object := range objects {
		if object.GetKind() == "ConfigMap" && object.GetName() == "nap-rollback" {
			t.Errorf("%s is rendered", object)
		}
	}
}

// Helm applies Services in the order of the manifest: the port must be free when the second one gets it.
func TestThePortIsFreeBeforeTheFrontGetsIt(t *testing.T) {
	var names []string
	for _, object := range render(t, closes).Main() {
		if object.GetKind() == "Service" {
			names = append(names, object.GetName())
		}
	}
	if cp, front := slices.Index(names, "nap-cp"), slices.Index(names, "nap-front"); cp < 0 || front < cp {
		t.Errorf("Services are applied in the order %v", names)
	}
}

// The container of the front is there whichever Service has the port, so that no pod has to be replaced when it changes hands.
func TestTheFront(t *testing.T) {
	for name, set := range map[string][]string{"open": nil, "closed": {closes},
		"remote": {closes, "global.exposure.remoteEnvironments=true"}} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, set...).Objects
			p := podOf(t, objects, "Deployment", "nap-cp")
			c := p.container(t, platform.TheFront().Name)
			for _, path := range contract.Paths() {
				closed := path.For == contract.Nobody || path.For == contract.RemoteEnvironments && name != "remote"
				if got := slices.Contains(c.Args, "--closed="+path.Path); got != closed {
					t.Errorf("%s is closed: %t, want %t", path.Path, got, closed)
				}
			}
			own := p.container(t, "control-plane")
			if want := "--to=http://127.0.0.1:3000"; !slices.Contains(c.Args, want) || own.Ports[0].ContainerPort != 3000 {
				t.Errorf("it runs with %v before port %v, want %s", c.Args, own.Ports, want)
			}
			// It takes requests as long as the control plane does, which begins to end after its preStop.
			command := own.Lifecycle.PreStop.Exec.Command
			if !slices.Equal(command, []string{"sleep", "5"}) || !slices.Contains(c.Args, "--drain=5s") {
				t.Errorf("the control plane ends after %v and the front with %v", command, c.Args)
			}
			if c.Image != p.spec().InitContainers[0].Image {
				t.Errorf("its image %s is another than that of the init container, %s", c.Image, p.spec().InitContainers[0].Image)
			}
			for _, variable := range c.Env {
				t.Errorf("it gets variable %s", variable.Name)
			}
		})
	}
	for _, kind := range []string{"clusterIP", "ingress"} {
		objects := render(t, "global.exposure.type="+kind, "global.host=nap.example.org", closes).Objects
		if slices.ContainsFunc(podOf(t, objects, "Deployment", "nap-cp").spec().Containers, isFront) {
			t.Errorf("global.exposure.type %s has it too", kind)
		}
	}
	holder := portHolder(t, render(t, closes).Objects)
	if port := holder.Spec.Ports[0]; holder.Spec.Selector["app"] != "nap-cp" || port.TargetPort.StrVal != platform.TheFront().PortName {
		t.Errorf("the node port leads to %v, %+v", holder.Spec.Selector, port)
	}
}
