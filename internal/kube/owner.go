package kube

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// How Helm marks an object as part of a release.
const (
	ReleaseAnnotation          = "meta.helm.sh/release-name"
	ReleaseNamespaceAnnotation = "meta.helm.sh/release-namespace"
	Helm                       = "Helm"
)

// OtherOwner says who owns an object when that is not the release, as Helm judges it; "" for the release's own.
func OtherOwner(object metav1.Object, release, namespace string) string {
	name, where := object.GetAnnotations()[ReleaseAnnotation], object.GetAnnotations()[ReleaseNamespaceAnnotation]
	switch {
	case object.GetLabels()[ManagedByLabel] != Helm || name == "":
		return "something other than Helm"
	case name != release || where != namespace:
		return fmt.Sprintf("release %s in namespace %s", name, where)
	}
	return ""
}
