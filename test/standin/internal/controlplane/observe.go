package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/neutree-ai/packaging/test/standin/internal/httpserver"
	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// observation is what Kubernetes shows of a workspace.
type observation struct {
	Status  string   `json:"status"`
	Message string   `json:"message,omitempty"`
	Stale   []string `json:"stale,omitempty"`
}

func (s *server) observe(ctx context.Context, row workspaceRow) (observation, error) {
	ready, template, err := s.workload(ctx, row)
	if err != nil {
		return observation{}, err
	}
	pods, err := s.kube.CoreV1().Pods(s.workspaces.Namespace).List(ctx, metav1.ListOptions{LabelSelector: workspace.IDLabel + "=" + row.ID})
	if err != nil {
		return observation{}, err
	}
	o := observation{Stale: s.stale(row, template)}
	switch {
	case row.Desired == workspace.Stopped && len(pods.Items) == 0:
		o.Status = "stopped"
	case row.Desired == workspace.Stopped:
		o.Status = "stopping"
	case ready > 0:
		o.Status = "running"
	default:
		o.Status = "starting"
		o.Message, err = s.explain(ctx, pods.Items)
	}
	return o, err
}

// workload reads the Deployment of a workspace, or its StatefulSet if it has several replicas.
func (s *server) workload(ctx context.Context, row workspaceRow) (ready int32, template *metav1.ObjectMeta, err error) {
	name, namespace := workspace.Name(row.ID), s.workspaces.Namespace
	if row.AutoScaling {
		set, err := s.kube.AppsV1().StatefulSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return 0, nil, nil
		}
		if err != nil {
			return 0, nil, err
		}
		return set.Status.ReadyReplicas, &set.ObjectMeta, nil
	}
	deployment, err := s.kube.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	return deployment.Status.ReadyReplicas, &deployment.ObjectMeta, nil
}

// stale says in what a workspace differs from one that would be made now.
func (s *server) stale(row workspaceRow, meta *metav1.ObjectMeta) []string {
	if meta == nil {
		return nil
	}
	var stale []string
	if got := meta.Annotations[workspace.VersionAnnotation]; got != s.contract.Template {
		stale = append(stale, fmt.Sprintf("template version %s, not %s", got, s.contract.Template))
	}
	if got, want := meta.Annotations[workspace.ImageAnnotation], s.workspaces.AgentImage(row.AgentType); got != want {
		stale = append(stale, fmt.Sprintf("image %s, not %s", got, want))
	}
	return stale
}

// explain finds why a workspace's pods are not ready yet.
func (s *server) explain(ctx context.Context, pods []corev1.Pod) (string, error) {
	for i := range pods {
		for _, status := range pods[i].Status.ContainerStatuses {
			if waiting := status.State.Waiting; waiting != nil && waiting.Message != "" {
				return fmt.Sprintf("%s: %s: %s", status.Name, waiting.Reason, waiting.Message), nil
			}
		}
		events, err := s.kube.CoreV1().Events(s.workspaces.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "type=Warning,involvedObject.name=" + pods[i].Name})
		if err != nil {
			return "", err
		}
		if n := len(events.Items); n > 0 {
			return events.Items[n-1].Reason + ": " + events.Items[n-1].Message, nil
		}
	}
	return "", nil
}

// deleteObjects removes everything a workspace has. What is gone already is fine.
func (s *server) deleteObjects(ctx context.Context, id string) error {
	namespace, none := s.workspaces.Namespace, metav1.DeleteOptions{}
	background := metav1.DeletePropagationBackground
	cascade := metav1.DeleteOptions{PropagationPolicy: &background}
	core, apps := s.kube.CoreV1(), s.kube.AppsV1()
	steps := []error{apps.Deployments(namespace).Delete(ctx, workspace.Name(id), cascade)}
	if _, err := apps.StatefulSets(namespace).Get(ctx, workspace.Name(id), metav1.GetOptions{}); err != nil {
		steps = append(steps, err)
	} else {
		steps = append(steps,
			apps.StatefulSets(namespace).Delete(ctx, workspace.Name(id), cascade),
			core.Services(namespace).Delete(ctx, workspace.HeadlessName(id), none))
	}
	if _, err := core.Services(namespace).Get(ctx, workspace.Name(id), metav1.GetOptions{}); err != nil {
		steps = append(steps, err)
	} else {
		steps = append(steps, core.Services(namespace).Delete(ctx, workspace.Name(id), none))
	}
	steps = append(steps, core.Secrets(namespace).Delete(ctx, workspace.TokenName(id), none))
	if _, err := core.PersistentVolumeClaims(namespace).Get(ctx, workspace.ClaimName(id), metav1.GetOptions{}); err != nil {
		steps = append(steps, err)
	} else {
		steps = append(steps, core.PersistentVolumeClaims(namespace).Delete(ctx, workspace.ClaimName(id), none))
	}
	var failed []error
	for _, err := range steps {
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// watchDeployments follows the workspaces' Deployments, as the real service does to notice crashes.
func (s *server) watchDeployments(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.watchOnce(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("watch the workspaces' deployments", "namespace", s.workspaces.Namespace, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

func (s *server) watchOnce(ctx context.Context) error {
	deployments := s.kube.AppsV1().Deployments(s.workspaces.Namespace)
	list, err := deployments.List(ctx, metav1.ListOptions{LabelSelector: workspace.Selector})
	if err != nil {
		return err
	}
	watcher, err := deployments.Watch(ctx, metav1.ListOptions{LabelSelector: workspace.Selector, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		if deployment, ok := event.Object.(*appsv1.Deployment); ok {
			s.log.Info("workspace changed", "object", deployment.Name, "event", event.Type, "ready", deployment.Status.ReadyReplicas)
		}
	}
	return nil
}

// askAgent calls the agent inside a workspace.
func (s *server) askAgent(w http.ResponseWriter, r *http.Request, _ session.User) {
	row, found := s.find(w, r)
	if !found {
		return
	}
	var answer map[string]any
	if err := httpserver.Get(r.Context(), workspace.AgentURL(s.workspaces.Namespace, row.ID)+"/health", nil, &answer); err != nil {
		httpserver.Error(w, http.StatusBadGateway, "the agent does not answer: "+err.Error())
		return
	}
	httpserver.JSON(w, http.StatusOK, answer)
}
