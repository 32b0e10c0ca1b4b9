package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/neutree-ai/packaging/internal/egress"
	"github.com/neutree-ai/packaging/internal/examine"
	"github.com/neutree-ai/packaging/internal/hook"
	"github.com/neutree-ai/packaging/internal/kube"
)

// egress applies the NetworkPolicy that limits what workspaces may connect to, or removes it. The policy is no part of
// the release, since no template can know whether the installation is new: a policy that exists stays, whatever the
// values say later, until they say "open". It comes before the first migration, after which a database is not empty any
// more, and before any workspace can start.
func (b *Bootstrap) egress(ctx context.Context, db examine.Database) error {
	spec, namespace := b.Spec.Egress, b.Spec.Workspaces.Namespace
	if spec.Policy == "" || namespace == "" {
		return nil
	}
	live, err := b.Client.Resource(kube.NetworkPolicies, namespace).Get(ctx, spec.Policy, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		live = nil
	case err != nil:
		return kube.Refused(err, "read NetworkPolicy %s/%s", namespace, spec.Policy)
	}
	exists := live != nil
	// Users of an installation learn what they lose by the policy before they do.
	users := db.Asked && !db.Empty && !db.New && spec.Manifest != "" && !exists
	switch {
	case spec.Manifest == "":
		b.Log.Warn("NetworkPolicies are off: workspaces may connect to anything, and any pod to them",
			"value", "global.networkPolicies.enabled")
	case spec.Mode == egress.Closed, spec.Mode == egress.Auto && (exists || db.New || db.Asked && db.Empty):
		return b.closeEgress(ctx, namespace, users)
	default:
		b.Log.Warn("workspaces may connect to anything, such as the API server, the cloud's metadata service and private "+
			"networks: run helm neutree preflight to see what a policy would cut, then set "+
			"global.networkPolicies.workspaceEgress.mode=closed", "mode", spec.Mode)
		if users && spec.Mode == egress.Auto {
			if policy, err := b.egressPolicy(); err == nil {
				b.sayCut(ctx, policy, "would cut")
			}
		}
	}
	if !exists {
		return nil
	}
	if live.GetLabels()[kube.ManagedByLabel] != kube.FieldManager {
		b.Log.Warn("a NetworkPolicy that this release did not create stays", "policy", namespace+"/"+spec.Policy)
		return nil
	}
	err = b.Client.Resource(kube.NetworkPolicies, namespace).Delete(ctx, spec.Policy, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return kube.Refused(err, "delete NetworkPolicy %s/%s", namespace, spec.Policy)
	}
	b.Log.Info("policy for connections of workspaces deleted", "policy", namespace+"/"+spec.Policy)
	return nil
}

func (b *Bootstrap) closeEgress(ctx context.Context, namespace string, users bool) error {
	policy, err := b.egressPolicy()
	if err != nil {
		return err
	}
	if users {
		b.sayCut(ctx, policy, "cuts")
	}
	if _, err := b.Client.Apply(ctx, kube.NetworkPolicies, namespace, policy, false); err != nil {
		return kube.Refused(err, "apply NetworkPolicy %s/%s, which global.networkPolicies.workspaceEgress describes",
			namespace, policy.Name)
	}
	b.Log.Info("workspaces may connect to the platform, the internet, and what "+
		"global.networkPolicies.workspaceEgress.allow names", "policy", namespace+"/"+policy.Name)
	return nil
}

// egressPolicy is the policy of the chart with the name servers of this pod, for the IP families of the cluster.
func (b *Bootstrap) egressPolicy() (*networkingv1.NetworkPolicy, error) {
	raw, err := os.ReadFile(b.Spec.Egress.Manifest)
	if err != nil {
		return nil, hook.Errorf(hook.Usage, "read the policy for connections of workspaces: %w", err)
	}
	policy := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict(raw, policy); err != nil {
		return nil, hook.Errorf(hook.Usage, "%s: %w", b.Spec.Egress.Manifest, err)
	}
	if policy.Name != b.Spec.Egress.Policy {
		return nil, hook.Errorf(hook.Usage, "%s contains NetworkPolicy %q, not %s", b.Spec.Egress.Manifest, policy.Name,
			b.Spec.Egress.Policy)
	}
	if policy.Labels == nil {
		policy.Labels = map[string]string{}
	}
	policy.Labels[kube.ManagedByLabel] = kube.FieldManager
	if err := b.addResolvers(policy); err != nil {
		return nil, err
	}
	if removed := egress.LimitTo(policy, b.Families); len(removed) > 0 {
		b.Log.Info("the policy for connections of workspaces leaves out ranges of an IP family that pods do not have",
			"ranges", removed)
	}
	return policy, nil
}

// addResolvers lets workspaces ask the name servers of this pod, which are theirs too.
func (b *Bootstrap) addResolvers(policy *networkingv1.NetworkPolicy) error {
	if b.ResolvConf == "" {
		return nil
	}
	resolvers, err := os.ReadFile(b.ResolvConf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the name servers of workspaces: %w", err)
	}
	egress.AddResolvers(policy, egress.Resolvers(string(resolvers)))
	return nil
}
