{{/*
What Helm itself would refuse before any hook can run: objects of this release's names that belong to somebody else.
Where there is no cluster to ask (helm template, ArgoCD) lookup finds nothing, and nothing is said.
A YAML list of sentences.
*/}}
{{- define "neutree.validate.cluster" -}}
{{- $problems := list -}}
{{- $workspaces := include "common.workspaceNamespace" . -}}

{{- with include "neutree.validate.operator" . }}
{{- $problems = append $problems . }}
{{- end }}

{{- $problems = concat $problems (include "neutree.validate.fixed" . | fromYamlArray) }}

{{- if and .Values.global.workspaces.createNamespace (ne $workspaces .Release.Namespace) }}
{{- with include "neutree.foreignOwner" (list $ "v1" "Namespace" "" $workspaces) }}
{{- $problems = append $problems (printf "namespace %s exists already, made by %s: to use it as it is, if it admits privileged pods, set global.workspaces.createNamespace=false; else name another in global.workspaces.namespace" $workspaces .) }}
{{- end }}
{{- end }}

{{- with include "neutree.foreignOwner" (list $ "v1" "ConfigMap" $workspaces "afs-fuse-config") }}
{{- $problems = append $problems (printf "namespace %s serves another installation, made by %s, and two can't share one: name another in global.workspaces.namespace" $workspaces .) }}
{{- end }}

{{- $problems = concat $problems (include "neutree.validate.volumes" . | fromYamlArray) }}

{{- $storage := .Values.global.storage.afsController }}
{{- if not $storage.existingClaim }}
{{- with include "neutree.foreignOwner" (list $ "v1" "PersistentVolumeClaim" .Release.Namespace "afs-controller-db") }}
{{- $problems = append $problems (printf "claim afs-controller-db in namespace %[1]s holds the data of an installation made by %[2]s: install under that release's name, or hand the claim over with kubectl -n %[1]s annotate --overwrite pvc afs-controller-db meta.helm.sh/release-name=%[3]s meta.helm.sh/release-namespace=%[1]s && kubectl -n %[1]s label --overwrite pvc afs-controller-db app.kubernetes.io/managed-by=Helm" $.Release.Namespace . $.Release.Name) }}
{{- end }}
{{- with lookup "v1" "PersistentVolumeClaim" .Release.Namespace "afs-controller-db" }}
{{- if and $storage.storageClass (ne $storage.storageClass (.spec.storageClassName | default "")) }}
{{- $problems = append $problems (printf "claim afs-controller-db has the StorageClass %q and can't get another: set global.storage.afsController.storageClass to that" .spec.storageClassName) }}
{{- end }}
{{- if not (has $storage.accessMode .spec.accessModes) }}
{{- $problems = append $problems (printf "claim afs-controller-db has the access mode %s and can't get another: set global.storage.afsController.accessMode to that" (first .spec.accessModes)) }}
{{- end }}
{{- end }}
{{- end }}

{{- if and (eq .Values.global.exposure.type "gateway") (lookup "v1" "Namespace" "" "kube-system") (not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "httproutes.gateway.networking.k8s.io")) }}
{{- $problems = append $problems "global.exposure.type is gateway, but the cluster has no HTTPRoutes: install the Gateway API and a controller of it, or choose another type" }}
{{- end }}

{{- if and .Values.global.monitoring.enabled (lookup "v1" "Namespace" "" "kube-system") (not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "servicemonitors.monitoring.coreos.com")) }}
{{- $problems = append $problems "global.monitoring.enabled is true, but the cluster has no ServiceMonitors: install the Prometheus operator, or set it to false" }}
{{- end }}
{{- if and (include "neutree.alerts" .) (lookup "v1" "Namespace" "" "kube-system") (not (lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "prometheusrules.monitoring.coreos.com")) }}
{{- $problems = append $problems "global.monitoring.alerts.enabled is true, but the cluster has no PrometheusRules: install the Prometheus operator with that kind, or set it to false" }}
{{- end }}

{{- range $kind := list "ClusterRole" "ClusterRoleBinding" }}
{{- range $suffix := list "bootstrap" "cp-node-reader" }}
{{- $name := include "common.clusterName" (list $ $suffix) }}
{{- with include "neutree.foreignOwner" (list $ "rbac.authorization.k8s.io/v1" $kind "" $name) }}
{{- $problems = append $problems (printf "%s %s exists already, made by %s: choose another global.namePrefix or another namespace" $kind $name .) }}
{{- end }}
{{- end }}
{{- end }}

{{- $problems | toYaml }}
{{- end }}

{{/*
Values that data depends on and that are not those of the installation, as a YAML list of sentences. The hook before an
upgrade refuses the same, and without hooks (--no-hooks) nothing else would: this revision overwrites the record of them.
*/}}
{{- define "neutree.validate.fixed" -}}
{{- $problems := list -}}
{{- $upgrade := .Values.global.upgrade -}}
{{- $was := (lookup "v1" "ConfigMap" .Release.Namespace (include "neutree.installation" .) | default dict).data | default dict -}}
{{- range eq (get $was "release") .Release.Name | ternary (include "neutree.fixedValues" . | fromYamlArray) list -}}
{{- $secret := .secret | default false -}}
{{- $allowed := $secret | ternary $upgrade.allowSecretChanges $upgrade.allowRenames -}}
{{- if and (hasKey $was .key) (ne (get $was .key) .value) (not $allowed) -}}
{{- $problems = append $problems ($secret | ternary
  (printf "%s would replace Secret %s by %s: with other keys in it, stored credentials can't be read any more and all users are logged out. Set it back, or, if both hold the same keys or the loss is meant, --set global.upgrade.allowSecretChanges=true" .setting (get $was .key) .value)
  (printf "%s was %q when the release was installed and would become %q: existing data would be left under the old name. Restore the old value, or, if that is meant, --set global.upgrade.allowRenames=true" .setting (get $was .key) .value)) -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end }}

{{/* What stands in the way of the operator, or of doing without it: one sentence, or nothing. */}}
{{- define "neutree.validate.operator" -}}
{{- $operator := index .Values "cloudnative-pg" -}}
{{- $crd := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (include "common.facts" . | fromJson).operator.clusterCRD -}}
{{- $crdOwner := include "neutree.owner" (list . $crd) -}}
{{- $webhookOwner := "" -}}
{{- range list "MutatingWebhookConfiguration" "ValidatingWebhookConfiguration" -}}
{{- $name := eq . "MutatingWebhookConfiguration" | ternary "cnpg-mutating-webhook-configuration" "cnpg-validating-webhook-configuration" -}}
{{- $webhookOwner = $webhookOwner | default (include "neutree.foreignOwner" (list $ "admissionregistration.k8s.io/v1" . "" $name)) -}}
{{- end -}}
{{- $clusterInReach := lookup "v1" "Namespace" "" "kube-system" -}}
{{- if $operator.enabled -}}
  {{- if $webhookOwner -}}
    a CloudNativePG operator is in the cluster already, made by {{ $webhookOwner }}: let the platform use it with --set cloudnative-pg.enabled=false
  {{- else if and $operator.crds.create $crdOwner -}}
    the CustomResourceDefinitions of CloudNativePG (clusters.postgresql.cnpg.io and others) are in the cluster already, made by {{ $crdOwner }}: leave them as they are with --set cloudnative-pg.crds.create=false (a hook marks them so that no tool prunes or deletes them), or, if an operator still serves them, use that one with --set cloudnative-pg.enabled=false
  {{- else if and $clusterInReach (not $operator.crds.create) (not $crd) -}}
    cloudnative-pg.crds.create is false, but the cluster has no CustomResourceDefinitions of CloudNativePG: leave it true
  {{- else -}}
    {{- $was := include "neutree.operator.liveNamespace" . -}}
    {{- $is := include "neutree.operator.namespace" . -}}
    {{- if and $was (ne $was $is) (not .Values.global.upgrade.allowOperatorChange) -}}
      the CloudNativePG operator of this release runs in namespace {{ $was }}, and these values move it to namespace {{ $is }}: until the old one is deleted two of them serve every database, and a tool that does not prune keeps both. Set cloudnative-pg.namespaceOverride={{ $was }} as before, or, if it is meant to move, --set global.upgrade.allowOperatorChange=true
    {{- end -}}
  {{- end -}}
{{- else if and $clusterInReach (not $crd) (not (include "common.externalDatabase" .)) -}}
  cloudnative-pg.enabled is false, but the cluster has no CloudNativePG operator: install one, or leave it true
{{- end -}}
{{- end }}

{{/*
Who owns an object, when that is not this release; empty otherwise, and for an object that does not exist.
Usage: include "neutree.foreignOwner" (list $ <apiVersion> <kind> <namespace> <name>)
*/}}
{{- define "neutree.foreignOwner" -}}
{{- include "neutree.owner" (list (index . 0) (lookup (index . 1) (index . 2) (index . 3) (index . 4))) -}}
{{- end }}

{{/* The same of an object that was looked up. Usage: include "neutree.owner" (list $ $object) */}}
{{- define "neutree.owner" -}}
{{- $release := (index . 0).Release -}}
{{- with index . 1 -}}
{{- $managed := eq (dig "metadata" "labels" "app.kubernetes.io/managed-by" "" .) "Helm" -}}
{{- $name := dig "metadata" "annotations" "meta.helm.sh/release-name" "" . -}}
{{- $namespace := dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" . -}}
{{- if not (and $managed $name) -}}
something else than Helm
{{- else if not (and (eq $name $release.Name) (eq $namespace $release.Namespace)) -}}
release {{ $name }} in namespace {{ $namespace }}
{{- end -}}
{{- end -}}
{{- end }}
