package database

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube"
	"github.com/neutree-ai/packaging/internal/poddiag"
)

// Trouble says what keeps the database from coming up, as far as it can be told: the phase that
// the operator reports, and the claim or pod that hangs.
func (c *Cluster) Trouble(ctx context.Context) string {
	var parts []string
	if live, err := c.client.Resource(kube.Clusters, c.namespace).Get(ctx, c.name, metav1.GetOptions{}); err == nil {
		if phase := phaseOf(live); phase != "" {
			parts = append(parts, phase)
		}
	}
	selector := clusterLabel + "=" + c.name
	if claim := c.claimTrouble(ctx, selector); claim != "" {
		parts = append(parts, claim)
	} else if pod := c.podTrouble(ctx, selector); pod != "" {
		parts = append(parts, pod)
	}
	return strings.Join(parts, "; ")
}

func phaseOf(cluster *unstructured.Unstructured) string {
	phase, _, _ := unstructured.NestedString(cluster.Object, "status", "phase")
	reason, _, _ := unstructured.NestedString(cluster.Object, "status", "phaseReason")
	if phase == "" {
		return "the operator has not looked at Cluster " + cluster.GetName() + " yet: no operator is running, or it looks " +
			"after other namespaces only (the release that contains it needs cloudnative-pg.config.clusterWide=true)"
	}
	if reason != "" {
		phase += " (" + reason + ")"
	}
	return "the operator says: " + phase
}

// operatorTrouble looks at the operator's pod when it belongs to the same release.
func (c *Cluster) operatorTrouble(ctx context.Context) string {
	if trouble := c.podTrouble(ctx, "app.kubernetes.io/name=cloudnative-pg"); trouble != "" {
		return ": " + trouble
	}
	return ""
}

func (c *Cluster) claimTrouble(ctx context.Context, selector string) string {
	claims, err := kube.List[corev1.PersistentVolumeClaim](ctx, c.client, kube.Claims, c.namespace, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return ""
	}
	for _, claim := range claims {
		if claim.Status.Phase != corev1.ClaimPending {
			continue
		}
		if event := c.pods().OfClaim(ctx, c.namespace, claim.Name); event != "" {
			return fmt.Sprintf("claim %s is Pending: %s", claim.Name, event)
		}
	}
	return ""
}

func (c *Cluster) podTrouble(ctx context.Context, selector string) string {
	pods, err := kube.List[corev1.Pod](ctx, c.client, kube.Pods, c.namespace, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return ""
	}
	for i := range pods {
		if trouble, ok := c.pods().Of(ctx, &pods[i]); ok {
			return fmt.Sprintf("pod %s %s", pods[i].Name, trouble)
		}
	}
	return ""
}

func (c *Cluster) pods() poddiag.Client { return poddiag.Client{Client: c.client} }
