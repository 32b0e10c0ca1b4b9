// Package probetest plays the nodes behind an API double: the pods of probes are placed, run and report, as a test
// says.
package probetest

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/probe"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// Nodes run the pods of an API double. Set the fields before the first pod starts.
type Nodes struct {
	*kubetest.Server
	// Names are the nodes; a pod that names none runs on the first.
	Names []string
	// Answer is what a task in a pod on a node reports; nil, or a nil answer, stands for success.
	Answer func(node string, task agent.Task) *agent.Result
	// Waiting says why a container does not run; nil, or a nil answer, lets it run.
	Waiting func(node string, container corev1.Container) *corev1.ContainerStateWaiting
	// Unschedulable says why no node takes a pod; nil, or an empty answer, lets it be placed.
	Unschedulable func(node string, pod *corev1.Pod) string
	// KeepsVolumes leaves volumes behind whose claims are gone.
	KeepsVolumes bool
	// Capacity is what a claim has once it is asked to grow; empty for what it asks for.
	Capacity string

	t    *testing.T
	mu   sync.Mutex
	pods []Pod
	// claims is held while one is read and stored again: each change has a reaction of its own, in no order.
	claims sync.Mutex
}

// Pod is one that was placed.
type Pod struct {
	*corev1.Pod
	Node  string
	Tasks []agent.Task
}

// New starts an API double that holds the objects in the YAML documents, with nodes that are ready.
func New(t *testing.T, names []string, documents ...string) *Nodes {
	t.Helper()
	for i, name := range names {
		documents = append(documents, fmt.Sprintf(`apiVersion: v1
kind: Node
metadata:
  name: %[1]s
  labels: {kubernetes.io/hostname: %[1]s, kubernetes.io/os: linux, kubernetes.io/arch: amd64}
status:
  addresses: [{type: InternalIP, address: 198.19.255.%[2]d}]
  conditions: [{type: Ready, status: "True"}]
  capacity: {cpu: "64", memory: 256Gi, pods: "200", ephemeral-storage: 500Gi}
  allocatable: {cpu: "64", memory: 256Gi, pods: "200", ephemeral-storage: 500Gi}
`, name, i+1))
	}
	n := &Nodes{Server: kubetest.New(t, documents...), Names: names, t: t}
	// The double holds its lock meanwhile.
	n.OnChange(func(number int) { go n.react(number) })
	return n
}

// Session is one whose probes run here.
func (n *Nodes) Session(namespace string) *probe.Session {
	return probe.New(probe.Config{Client: n.Client(), Image: "example.com/nap-hooks:1", Namespace: namespace})
}

// Placed are the pods that were placed, those of a purpose only if one is named.
func (n *Nodes) Placed(purpose string) []Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(n.pods), func(p Pod) bool {
		return purpose != "" && !strings.HasPrefix(p.Name, "neutree-preflight-"+purpose)
	})
}

func (n *Nodes) react(number int) {
	change := n.Changes()[number-1]
	switch {
	case change.DryRun:
	case change.Method == "POST" && strings.HasSuffix(change.Path, "/pods"):
		var pod corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(change.Body, &pod); err != nil {
			n.t.Errorf("a pod that is none: %v", err)
			return
		}
		n.place(&pod)
	case change.Method == "POST" && strings.HasSuffix(change.Path, "/persistentvolumeclaims"):
		u := unstructured.Unstructured{Object: change.Body}
		n.bind(change.Path + "/" + u.GetName())
	case change.Method == "PATCH" && strings.Contains(change.Path, "/persistentvolumeclaims/"):
		n.grow(change.Path)
	case change.Method == "DELETE" && strings.Contains(change.Path, "/persistentvolumeclaims/") && !n.KeepsVolumes:
		n.Delete("/api/v1/persistentvolumes/pv-" + path.Base(change.Path))
	}
}

func (n *Nodes) place(pod *corev1.Pod) {
	node := n.nodeOf(pod)
	pod.Status.Phase = corev1.PodPending
	if n.Unschedulable != nil {
		if message := n.Unschedulable(node, pod); message != "" {
			pod.Status.Conditions = []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
				Message: message,
			}}
			n.put(pod)
			return
		}
	}
	for _, volume := range pod.Spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim != nil {
			// No pod starts before its claims are bound.
			n.bind("/api/v1/namespaces/" + pod.Namespace + "/persistentvolumeclaims/" + claim.ClaimName)
		}
	}
	placed := Pod{Pod: pod, Node: node}
	pod.Spec.NodeName, pod.Status.PodIP, pod.Status.Phase = node, "198.19.254.1", corev1.PodRunning
	for _, container := range pod.Spec.Containers {
		status, tasks := n.run(node, container)
		placed.Tasks = append(placed.Tasks, tasks...)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
	n.mu.Lock()
	n.pods = append(n.pods, placed)
	n.mu.Unlock()
	n.put(pod)
}

// nodeOf is the node that a pod is bound to by its affinity.
func (n *Nodes) nodeOf(pod *corev1.Pod) string {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil ||
		affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return n.Names[0]
	}
	for _, term := range affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == metav1.ObjectNameField && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return n.Names[0]
}

func (n *Nodes) run(node string, container corev1.Container) (corev1.ContainerStatus, []agent.Task) {
	status := corev1.ContainerStatus{Name: container.Name, Image: container.Image}
	if n.Waiting != nil {
		if status.State.Waiting = n.Waiting(node, container); status.State.Waiting != nil {
			return status, nil
		}
	}
	i := slices.Index(container.Args, "--tasks")
	if i < 0 {
		// Only its image is of interest.
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError"}
		return status, nil
	}
	tasks, err := agent.ReadTasks(container.Args[i+1])
	if err != nil {
		n.t.Errorf("tasks that a probe can't read: %v", err)
		return status, nil
	}
	report, serves := agent.Report{}, false
	for _, task := range tasks {
		result := &agent.Result{Facts: agent.Facts{agent.Offset: "0"}}
		if n.Answer != nil {
			if answer := n.Answer(node, task); answer != nil {
				result = answer
			}
		}
		result.ID = task.ID
		report.Results = append(report.Results, *result)
		serves = serves || task.Serve != nil
	}
	if serves {
		status.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.Now()}
		return status, tasks
	}
	message, err := report.Encode()
	if err != nil {
		n.t.Error(err)
	}
	status.State.Terminated = &corev1.ContainerStateTerminated{Message: message, StartedAt: metav1.Now(),
		Reason: "Completed"}
	return status, tasks
}

// put stores the pod if it was not removed meanwhile.
func (n *Nodes) put(pod *corev1.Pod) {
	n.store(pod)
}

// bind gives a claim a volume, unless it has one.
func (n *Nodes) bind(at string) {
	n.claims.Lock()
	defer n.claims.Unlock()
	claim := n.Object(at)
	if claim == nil {
		return
	}
	if bound, _, _ := unstructured.NestedString(claim.Object, "spec", "volumeName"); bound != "" {
		return
	}
	volume := "pv-" + claim.GetName()
	n.Put(fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: %s, annotations: {pv.kubernetes.io/provisioned-by: example.com/files}}
spec: {persistentVolumeReclaimPolicy: Delete, claimRef: {namespace: %s, name: %s}}
`, volume, claim.GetNamespace(), claim.GetName()))
	if err := unstructured.SetNestedField(claim.Object, volume, "spec", "volumeName"); err != nil {
		n.t.Error(err)
		return
	}
	// A claim that was deleted meanwhile has taken no volume with it.
	if !n.store(claim) && !n.KeepsVolumes {
		n.Delete("/api/v1/persistentvolumes/" + volume)
	}
}

// store puts an object that was read and changed, and reports whether it was still there.
func (n *Nodes) store(object any) bool {
	raw, err := json.Marshal(object)
	if err != nil {
		n.t.Error(err)
		return false
	}
	return n.Replace(string(raw))
}

// grow gives a claim, which is bound by then, the size that it asks for.
func (n *Nodes) grow(at string) {
	n.bind(at)
	n.claims.Lock()
	defer n.claims.Unlock()
	claim := n.Object(at)
	if claim == nil {
		return
	}
	size := n.Capacity
	if size == "" {
		size, _, _ = unstructured.NestedString(claim.Object, "spec", "resources", "requests", "storage")
	}
	if err := unstructured.SetNestedField(claim.Object, size, "status", "capacity", "storage"); err != nil {
		n.t.Error(err)
		return
	}
	n.store(claim)
}
