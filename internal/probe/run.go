package probe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/poddiag"
	"github.com/neutree-ai/packaging/internal/probe/agent"
)

// Outcome is what a pod told.
type Outcome struct {
	Node string
	// Results of all containers, by the IDs of their tasks.
	Results map[string]agent.Result
	// Started is when the last container began to run.
	Started time.Time
}

// Run starts a pod, waits until all its containers have reported, and removes it. That it did not get so
// far is a poddiag.Trouble if the cluster is to blame.
func (s *Session) Run(ctx context.Context, p Pod) (*Outcome, error) {
	running, err := s.Start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer running.Stop()
	limit := p.Limit
	if limit <= 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit+15*time.Second, &poddiag.Trouble{Kind: poddiag.TooLong, Pod: running.Name, Node: p.Node,
		Message: fmt.Sprintf("the probe did not end within %s", limit)})
	defer cancel()
	pod, err := s.await(ctx, p.Namespace, running.Name, func(pod *corev1.Pod) (bool, error) { return ended(pod), nil })
	if err != nil {
		return nil, err
	}
	return collect(p, pod)
}

// Running is a pod that runs.
type Running struct {
	Name string
	IP   string
	Node string

	session   *Session
	namespace string
	release   func()
}

// Start starts a pod and waits until its containers run, or have run. The caller stops it.
func (s *Session) Start(ctx context.Context, p Pod) (*Running, error) {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	running := &Running{session: s, namespace: p.Namespace, Node: p.Node, release: sync.OnceFunc(func() { <-s.slots })}
	built, err := s.build(p)
	if err != nil {
		running.release()
		return nil, err
	}
	running.Name = built.Name
	if err := s.config.Client.Create(ctx, kube.Pods, p.Namespace, built, false); err != nil {
		running.release()
		if apierrors.IsForbidden(err) && kube.MissingPermission(err) == "" || apierrors.IsInvalid(err) {
			return nil, &poddiag.Trouble{Kind: poddiag.Admission, Pod: built.Name, Node: p.Node, Message: kube.Brief(err)}
		}
		return nil, fmt.Errorf("start a probe pod in namespace %s: %w", p.Namespace, err)
	}
	watcher := &watcher{session: s, pod: p, begun: time.Now()}
	start, cancel := context.WithTimeoutCause(ctx, s.config.Start, errTooSlow)
	defer cancel()
	pod, err := s.await(start, p.Namespace, built.Name, func(pod *corev1.Pod) (bool, error) { return watcher.look(start, pod) })
	if errors.Is(err, errTooSlow) {
		err = watcher.explain(ctx)
	}
	if err != nil {
		running.Stop()
		return nil, err
	}
	running.IP, running.Node = pod.Status.PodIP, pod.Spec.NodeName
	return running, nil
}

// Stop removes the pod without waiting for it, even when the context that it was started with has ended.
func (r *Running) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// What this leaves goes with the ConfigMap.
	_ = r.session.config.Client.Resource(kube.Pods, r.namespace).Delete(ctx, r.Name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)})
	r.release()
}

var errTooSlow = errors.New("the pod did not start in time")

// await looks at the pod until done says so.
func (s *Session) await(ctx context.Context, namespace, name string, done func(*corev1.Pod) (bool, error)) (*corev1.Pod, error) {
	for missing := 0; ; {
		pods, err := s.pods(ctx, namespace)
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("look at the probe pods in namespace %s: %w", namespace, err)
		}
		if pod, ok := pods[name]; ok {
			missing = 0
			if finished, err := done(&pod); finished || err != nil {
				return &pod, err
			}
		} else if err == nil {
			if missing++; missing > 20 {
				return nil, &poddiag.Trouble{Kind: poddiag.Gone, Pod: name}
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// listing is the last look at the pods of a namespace, which all that wait share.
type listing struct {
	mu   sync.Mutex
	at   time.Time
	pods map[string]corev1.Pod
}

func (s *Session) pods(ctx context.Context, namespace string) (map[string]corev1.Pod, error) {
	s.mu.Lock()
	l, ok := s.lists[namespace]
	if !ok {
		l = &listing{}
		s.lists[namespace] = l
	}
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) < 150*time.Millisecond {
		return l.pods, nil
	}
	list, err := kube.List[corev1.Pod](ctx, s.config.Client, kube.Pods, namespace, metav1.ListOptions{LabelSelector: RunLabel + "=" + s.id})
	if err != nil {
		return nil, err
	}
	l.pods = map[string]corev1.Pod{}
	for _, pod := range list {
		l.pods[pod.Name] = pod
	}
	l.at = time.Now()
	return l.pods, nil
}

// ended tells whether the containers that report have ended.
func ended(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return true
	}
	if len(pod.Status.ContainerStatuses) < len(pod.Spec.Containers) {
		return false
	}
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Terminated == nil {
			return false
		}
	}
	return true
}

// collect reads the reports of a pod that has ended.
func collect(p Pod, pod *corev1.Pod) (*Outcome, error) {
	out := &Outcome{Node: pod.Spec.NodeName, Results: map[string]agent.Result{}}
	statuses := map[string]corev1.ContainerStatus{}
	for _, status := range pod.Status.ContainerStatuses {
		statuses[status.Name] = status
	}
	for _, c := range p.Containers {
		end := statuses[c.Name].State.Terminated
		trouble := &poddiag.Trouble{Kind: poddiag.Broken, Pod: pod.Name, Node: pod.Spec.NodeName}
		switch {
		case pod.Status.Reason == "Evicted":
			trouble.Kind, trouble.Message = poddiag.Evicted, pod.Status.Message
			return nil, trouble
		case end == nil:
			trouble.Message = "the probe ended without a report: " + pod.Status.Message
			return nil, trouble
		case end.ExitCode != 0 && end.Reason == "OOMKilled":
			trouble.Message = "the node had no memory left for the probe"
			return nil, trouble
		}
		results, err := agent.Decode(end.Message, c.Tasks)
		if err != nil {
			trouble.Message = fmt.Sprintf("exit code %d: %v", end.ExitCode, err)
			return nil, trouble
		}
		for id, result := range results {
			out.Results[id] = result
		}
		if end.StartedAt.Time.After(out.Started) {
			out.Started = end.StartedAt.Time
		}
	}
	return out, nil
}
