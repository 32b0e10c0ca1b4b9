{{/* What guard has to prove of claims and nodes. */}}
{{- define "neutree.guard.volumes" -}}
{{- $storage := .Values.global.storage }}
claims:
  {{- if not (include "common.externalDatabase" .) }}
  - namespace: {{ .Release.Namespace }}
    selector: cnpg.io/cluster={{ include "common.name" (list . "pg") }}
    size: {{ .Values.global.database.cnpg.storage.size }}
    value: global.database.cnpg.storage.size
    # The gate compares the whole Cluster.
    kept: true
  {{- end }}
  - namespace: {{ .Release.Namespace }}
    name: {{ include "common.afsControllerClaim" . }}
    {{- if $storage.afsController.existingClaim }}
    required: true
    value: global.storage.afsController.existingClaim
    {{- else }}
    size: {{ $storage.afsController.size }}
    value: global.storage.afsController.size
    {{- with $storage.afsController.storageClass }}
    storageClass: {{ . | quote }}
    classValue: global.storage.afsController.storageClass
    {{- end }}
    {{- end }}
  {{- if and (include "neutree.copies.on" .) .Values.global.backup.offsite.existingClaim }}
  - namespace: {{ .Release.Namespace }}
    name: {{ .Values.global.backup.offsite.existingClaim | quote }}
    required: true
    value: global.backup.offsite.existingClaim
  {{- end }}
  {{- if or (include "neutree.workspaceNamespaceExists" .) (eq (include "common.workspaceNamespace" .) .Release.Namespace) }}
  - namespace: {{ include "common.workspaceNamespace" . }}
    name: {{ include "common.sharedClaim" . }}
    {{- if $storage.shared.existingClaim }}
    required: true
    value: global.storage.shared.existingClaim
    {{- else }}
    {{- with $storage.shared.size }}
    size: {{ . }}
    {{- end }}
    value: global.storage.shared.size
    kept: {{ .Values.global.upgrade.allowKeptValues }}
    {{- $source := include "common.sharedSource" . }}
    {{- if has $source (list "nfs" "node") }}
    volume: {{ include "common.clusterName" (list . "shared") }}
    classValue: global.storage.shared
    {{- else if eq $source "nfsClass" }}
    storageClass: {{ include "common.clusterName" (list . "nfs") }}
    classValue: global.storage.shared.nfs
    {{- else }}
    {{- with $storage.shared.storageClass }}
    storageClass: {{ . | quote }}
    classValue: global.storage.shared.storageClass
    {{- end }}
    {{- end }}
    {{- end }}
  {{- end }}
{{- if eq (include "common.sharedSource" .) "node" }}
nodes:
  - selector: {{ $storage.shared.nodeLocal.node | empty | ternary "node-role.kubernetes.io/control-plane" (print "kubernetes.io/hostname=" $storage.shared.nodeLocal.node) }}
    value: global.storage.shared.nodeLocal.node
{{- end }}
{{- end }}

{{/* Names of the claims in one namespace that guard reads. Usage: include "neutree.guard.claims" (list $ <namespace>) */}}
{{- define "neutree.guard.claims" -}}
{{- $root := index . 0 -}}
{{- $names := list (include "common.afsControllerClaim" $root) -}}
{{- if eq (include "common.workspaceNamespace" $root) $root.Release.Namespace }}
{{- $names = append $names (include "common.sharedClaim" $root) }}
{{- end }}
{{- if $root.Values.global.backup.enabled }}
{{- $names = append $names (include "common.name" (list $root "backups")) }}
{{- with $root.Values.global.backup.offsite.existingClaim }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- $names | toJson }}
{{- end }}
