package netpolicy

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listerscorev1 "k8s.io/client-go/listers/core/v1"
	listersnetworkingv1 "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/knftables"

	"github.com/neutree-ai/packaging/test/testbed/internal/plan"
)

const (
	// settle is how long changes are gathered before they are enforced together.
	settle = 50 * time.Millisecond
	// retryAfter is the pause after the kernel refused a ruleset.
	retryAfter = time.Second
)

// Run enforces the policies of a node's pods until ctx ends.
func Run(ctx context.Context, log *slog.Logger, c *plan.Cluster, node string) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read %s: %w", c.Kubeconfig(), err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to the API server: %w", err)
	}
	nft, err := knftables.New(knftables.IPv4Family, table)
	if err != nil {
		return fmt.Errorf("use nftables: %w", err)
	}
	a := newAgent(log, nft, c, node)
	if err := a.watch(ctx, client); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() { cancel(fmt.Errorf("serve the network plugin: %w", a.listen(ctx, socket))) }()
	a.keep(ctx)
	return context.Cause(ctx)
}

// agent enforces the policies of one node's pods.
type agent struct {
	log     *slog.Logger
	nft     knftables.Interface
	cluster *plan.Cluster
	node    string

	policies   listersnetworkingv1.NetworkPolicyLister
	pods       listerscorev1.PodLister
	namespaces listerscorev1.NamespaceLister

	// changed has room for one signal that there is something to enforce.
	changed chan struct{}

	mu sync.Mutex
	// fresh are addresses that the network plugin told, by pod: the API server learns them later.
	fresh map[string]string
	// enforced is closed when everything is enforced that was known when it was replaced by the next one.
	enforced chan struct{}
}

func newAgent(log *slog.Logger, nft knftables.Interface, c *plan.Cluster, node string) *agent {
	return &agent{
		log: log, nft: nft, cluster: c, node: node,
		changed: make(chan struct{}, 1), fresh: map[string]string{}, enforced: make(chan struct{}),
	}
}

// watch fills the listers and signals their changes.
func (a *agent) watch(ctx context.Context, client kubernetes.Interface) error {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	a.policies = factory.Networking().V1().NetworkPolicies().Lister()
	a.pods = factory.Core().V1().Pods().Lister()
	a.namespaces = factory.Core().V1().Namespaces().Lister()
	for _, informer := range []cache.SharedIndexInformer{
		factory.Networking().V1().NetworkPolicies().Informer(),
		factory.Core().V1().Pods().Informer(),
		factory.Core().V1().Namespaces().Informer(),
	} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { a.signal() },
			UpdateFunc: func(any, any) { a.signal() },
			DeleteFunc: func(any) { a.signal() },
		}); err != nil {
			return fmt.Errorf("watch the cluster: %w", err)
		}
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("watch the cluster: no list of %v: %w", kind, context.Cause(ctx))
		}
	}
	a.signal()
	return nil
}

// trim drops what no rule follows from, since each node keeps all pods in memory.
func trim(object any) (any, error) {
	if pod, ok := object.(*corev1.Pod); ok {
		pod.ManagedFields, pod.Annotations = nil, nil
		pod.Spec.Volumes = nil
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				containers[i] = corev1.Container{Name: containers[i].Name, Ports: containers[i].Ports}
			}
		}
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses = nil, nil
	}
	return object, nil
}

func (a *agent) signal() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// keep enforces each change until ctx ends.
func (a *agent) keep(ctx context.Context) {
	var (
		last    Ruleset
		known   bool
		waiting []chan struct{}
	)
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.changed:
		}
		wait(ctx, settle)
		ruleset, done, err := a.current()
		waiting = append(waiting, done)
		if err == nil && !(known && reflect.DeepEqual(ruleset, last)) {
			err = a.enforce(ctx, ruleset)
		}
		if err != nil {
			a.log.Error("policies are not enforced as they should be, trying again", "error", err, "in", retryAfter)
			known = false
			wait(ctx, retryAfter)
			a.signal()
			continue
		}
		last, known = ruleset, true
		for _, done := range waiting {
			close(done)
		}
		waiting = nil
	}
}

// current is what is to be enforced now, and whom to tell when it is.
func (a *agent) current() (Ruleset, chan struct{}, error) {
	// The signal is replaced first: who asks from here on waits for the next time.
	a.mu.Lock()
	done := a.enforced
	a.enforced = make(chan struct{})
	a.mu.Unlock()

	policies, err := a.policies.List(labels.Everything())
	if err != nil {
		return nil, done, err
	}
	pods, err := a.pods.List(labels.Everything())
	if err != nil {
		return nil, done, err
	}
	namespaces, err := a.namespaces.List(labels.Everything())
	if err != nil {
		return nil, done, err
	}
	ruleset, err := Build(Cluster{Policies: policies, Pods: append(a.addresses(pods), nameServer(a.cluster)), Namespaces: namespaces}, a.node)
	return ruleset, done, err
}

func (a *agent) enforce(ctx context.Context, ruleset Ruleset) error {
	tx := a.nft.NewTransaction()
	transaction(tx, ruleset)
	if err := a.nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	a.log.Info("enforced", "isolatedPods", len(ruleset))
	return nil
}

// addresses are the pods with the addresses that the network plugin told, which are newer than the API server's. It
// forgets those of pods that are gone.
func (a *agent) addresses(pods []*corev1.Pod) []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	present := map[string]bool{}
	var result []*corev1.Pod
	for _, pod := range pods {
		key := podName(pod)
		present[key] = true
		if address, ok := a.fresh[key]; ok && pod.Spec.NodeName == a.node {
			pod = pod.DeepCopy()
			pod.Status.PodIP, pod.Status.PodIPs = address, nil
		}
		result = append(result, pod)
	}
	for key := range a.fresh {
		if !present[key] {
			delete(a.fresh, key)
		}
	}
	return result
}

// learn takes a new pod's address and returns when the rules that follow from it are enforced.
func (a *agent) learn(ctx context.Context, namespace, name, address string) error {
	if err := a.awaitPod(ctx, namespace, name); err != nil {
		return err
	}
	a.mu.Lock()
	a.fresh[namespace+"/"+name] = address
	done := a.enforced
	a.mu.Unlock()
	a.signal()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the policies of pod %s/%s are not enforced yet: %w", namespace, name, context.Cause(ctx))
	}
}

// awaitPod waits for a pod that kubelet has heard of before this agent.
func (a *agent) awaitPod(ctx context.Context, namespace, name string) error {
	for {
		if _, err := a.pods.Pods(namespace).Get(name); err == nil {
			return nil
		}
		if wait(ctx, settle); ctx.Err() != nil {
			return fmt.Errorf("no pod %s/%s: %w", namespace, name, context.Cause(ctx))
		}
	}
}

// nameServer is the cluster's name server as the pod that it is elsewhere, so that policies can name it.
func nameServer(c *plan.Cluster) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = "kube-system", "coredns"
	pod.Labels = map[string]string{"k8s-app": "kube-dns"}
	pod.Spec.Containers = []corev1.Container{{Name: "coredns", Ports: []corev1.ContainerPort{
		{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		{Name: "dns-tcp", ContainerPort: 53, Protocol: corev1.ProtocolTCP},
	}}}
	pod.Status.PodIP = c.DNSAddress()
	return pod
}

func wait(ctx context.Context, duration time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(duration):
	}
}
