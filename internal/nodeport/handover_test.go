package nodeport_test

import (
	"log/slog"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/neutree-ai/packaging/internal/kube/kubetest"
	"github.com/neutree-ai/packaging/internal/nodeport"
)

const (
	frontService  = `{apiVersion: v1, kind: Service, metadata: {namespace: nap, name: nap-front, uid: "1"}, spec: {type: NodePort}}`
	otherService  = `{apiVersion: v1, kind: Service, metadata: {namespace: nap, name: nap-cp, uid: "2"}, spec: {type: NodePort}}`
	leftConfigMap = `{apiVersion: v1, kind: ConfigMap, metadata: {namespace: nap, name: nap-rollback, uid: "3"}, data: {rollback.yaml: ""}}`
)

func TestGiveUpDeletesTheServiceAlone(t *testing.T) {
	server := kubetest.New(t, frontService, otherService)
	log := slog.New(slog.DiscardHandler)
	// The second time it is gone already, and the third time there is none to delete.
	for _, service := range []string{"nap-front", "nap-front", ""} {
		if err := nodeport.GiveUp(t.Context(), log, server.Client(), "nap", service); err != nil {
			t.Fatal(err)
		}
	}
	if server.Object("/api/v1/namespaces/nap/services/nap-front") != nil || server.Object("/api/v1/namespaces/nap/services/nap-cp") == nil {
		t.Errorf("what is left: %v, %v", server.Object("/api/v1/namespaces/nap/services/nap-front"),
			server.Object("/api/v1/namespaces/nap/services/nap-cp"))
	}
}

func TestTie(t *testing.T) {
	team := map[string]string{"team": "platform"}
	// A rollback to version 0.1.0 that was refused has left the ConfigMap.
	server := kubetest.New(t, `{apiVersion: v1, kind: Namespace, metadata: {name: nap}}`, frontService, leftConfigMap)
	// An upgrade that changes nothing ties them again.
	for range 2 {
		if err := nodeport.Tie(t.Context(), server.Client(), "nap", "nap-front", "nap-rollback", team); err != nil {
			t.Fatal(err)
		}
	}
	service := server.Object("/api/v1/namespaces/nap/services/nap-front")
	configMap := server.Object("/api/v1/namespaces/nap/configmaps/nap-rollback")
	if service == nil || configMap == nil {
		t.Fatalf("Service %v, ConfigMap %v", service, configMap)
	}
	if got := configMap.GetLabels()["team"]; got != "platform" {
		t.Errorf("the ConfigMap has labels %v", configMap.GetLabels())
	}
	of, by := service.GetOwnerReferences(), configMap.GetOwnerReferences()
	if len(of) != 1 || of[0].Kind != "ConfigMap" || of[0].Name != "nap-rollback" || of[0].UID != configMap.GetUID() {
		t.Errorf("the Service belongs to %+v, want ConfigMap nap-rollback with UID %s", of, configMap.GetUID())
	}
	if len(by) != 1 || by[0].Kind != "Service" || by[0].Name != "nap-front" || by[0].UID != service.GetUID() {
		t.Errorf("the ConfigMap belongs to %+v, want Service nap-front with UID %s", by, service.GetUID())
	}
	if kind, _, _ := unstructured.NestedString(service.Object, "spec", "type"); kind != "NodePort" {
		t.Errorf("the Service has type %q now", kind)
	}
	if err := nodeport.Tie(t.Context(), server.Client(), "nap", "nap-other", "nap-rollback", team); err == nil {
		t.Error("a Service that does not exist is tied")
	}
}
