package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/neutree-ai/packaging/test/standin/internal/session"
	"github.com/neutree-ai/packaging/test/standin/internal/workspace"
)

// apply makes everything of a workspace, or what is missing of it, with a new token.
func (r *runner) apply(ctx context.Context, p placement) error {
	if p.AutoScaling && !r.contract.StatefulSets {
		return errors.New("this env runner makes no workspaces with several replicas")
	}
	if r.contract.Tokens {
		if err := r.applyToken(ctx, p); err != nil {
			return err
		}
	}
	if err := r.applyClaim(ctx, p); err != nil {
		return err
	}
	if err := r.ensureServices(ctx, p); err != nil {
		return err
	}
	if p.AutoScaling {
		return r.applyStatefulSet(ctx, p)
	}
	return r.applyDeployment(ctx, p)
}

func (r *runner) applyToken(ctx context.Context, p placement) error {
	token := session.NewWorkspaceToken()
	_, err := r.pool.Exec(ctx, `INSERT INTO public.workspace_tokens (workspace_id, token_hash) VALUES ($1, $2)
ON CONFLICT (workspace_id) DO UPDATE SET token_hash = excluded.token_hash, minted_at = now()`, p.ID, session.TokenHash(token))
	if err != nil {
		return fmt.Errorf("mint a token: %w", err)
	}
	secrets := r.kube.CoreV1().Secrets(r.Namespace)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: workspace.TokenName(p.ID), Labels: workspace.Labels(p.ID)},
		Type:       corev1.SecretTypeOpaque,
		StringData: map[string]string{workspace.TokenKey: token},
	}
	_, err = secrets.Create(ctx, secret, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
	}
	return err
}

// applyClaim makes the workspace's volume, or lets it grow. It never shrinks.
func (r *runner) applyClaim(ctx context.Context, p placement) error {
	claims := r.kube.CoreV1().PersistentVolumeClaims(r.Namespace)
	claim, err := r.claim(p)
	if err != nil {
		return err
	}
	live, err := claims.Get(ctx, claim.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = claims.Create(ctx, claim, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if size.Cmp(live.Spec.Resources.Requests[corev1.ResourceStorage]) <= 0 {
		return nil
	}
	patch := fmt.Sprintf(`{"spec":{"resources":{"requests":{"storage":%q}}}}`, size.String())
	_, err = claims.Patch(ctx, claim.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// ensureServices makes the Services that a stop took away.
func (r *runner) ensureServices(ctx context.Context, p placement) error {
	services := r.kube.CoreV1().Services(r.Namespace)
	for _, service := range r.services(p) {
		_, err := services.Get(ctx, service.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = services.Create(ctx, service, metav1.CreateOptions{})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) applyDeployment(ctx context.Context, p placement) error {
	deployments := r.kube.AppsV1().Deployments(r.Namespace)
	deployment := r.deployment(p)
	_, err := deployments.Get(ctx, deployment.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = deployments.Create(ctx, deployment, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	patch, err := templatePatch(deployment.Annotations, deployment.Spec.Template)
	if err != nil {
		return err
	}
	if _, err := deployments.Patch(ctx, deployment.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return r.scale(ctx, p, 1)
}

func (r *runner) applyStatefulSet(ctx context.Context, p placement) error {
	sets := r.kube.AppsV1().StatefulSets(r.Namespace)
	set := r.statefulSet(p)
	_, err := sets.Get(ctx, set.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = sets.Create(ctx, set, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	patch, err := templatePatch(set.Annotations, set.Spec.Template)
	if err != nil {
		return err
	}
	if _, err := sets.Patch(ctx, set.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	return r.scale(ctx, p, 1)
}

// templatePatch replaces the pod template as a whole: a merge patch replaces lists, so a container that is
// no longer wanted goes.
func templatePatch(annotations map[string]string, template corev1.PodTemplateSpec) ([]byte, error) {
	return json.Marshal(map[string]any{
		"metadata": map[string]any{"annotations": annotations},
		"spec":     map[string]any{"template": template},
	})
}

// scale sets the replicas of whatever a workspace runs as. Nothing there is fine: the StatefulSet is asked
// for whenever there is no Deployment, so a runner without that right fails here.
func (r *runner) scale(ctx context.Context, p placement, replicas int) error {
	apps := r.kube.AppsV1()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	name := workspace.Name(p.ID)
	_, err := apps.Deployments(r.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		_, err = apps.Deployments(r.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale")
		return err
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	if !r.contract.StatefulSets {
		return nil
	}
	_, err = apps.StatefulSets(r.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = apps.StatefulSets(r.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale")
	return err
}

// stop ends the pods and gives the Service's address back.
func (r *runner) stop(ctx context.Context, p placement) error {
	if err := r.scale(ctx, p, 0); err != nil {
		return err
	}
	for _, service := range r.services(p) {
		err := r.kube.CoreV1().Services(r.Namespace).Delete(ctx, service.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// destroy removes everything of a workspace, its volume too.
func (r *runner) destroy(ctx context.Context, p placement) error {
	core, apps, name := r.kube.CoreV1(), r.kube.AppsV1(), workspace.Name(p.ID)
	background := metav1.DeletePropagationBackground
	cascade := metav1.DeleteOptions{PropagationPolicy: &background}
	if r.contract.StatefulSets {
		_, err := apps.StatefulSets(r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			err = apps.StatefulSets(r.Namespace).Delete(ctx, name, cascade)
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	deletions := []func() error{
		func() error { return apps.Deployments(r.Namespace).Delete(ctx, name, cascade) },
		func() error {
			return core.PersistentVolumeClaims(r.Namespace).Delete(ctx, workspace.ClaimName(p.ID), metav1.DeleteOptions{})
		},
	}
	if r.contract.Tokens {
		deletions = append(deletions, func() error {
			return core.Secrets(r.Namespace).Delete(ctx, workspace.TokenName(p.ID), metav1.DeleteOptions{})
		})
	}
	for _, service := range r.services(p) {
		deletions = append(deletions, func() error {
			return core.Services(r.Namespace).Delete(ctx, service.Name, metav1.DeleteOptions{})
		})
	}
	for _, remove := range deletions {
		if err := remove(); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
