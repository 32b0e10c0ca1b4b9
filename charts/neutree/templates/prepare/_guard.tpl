{{/* Not empty when the workspaces' namespace is there before this release makes it, as far as this render can know. */}}
{{- define "neutree.workspaceNamespaceExists" -}}
{{- $namespace := include "common.workspaceNamespace" . -}}
{{- if and (ne $namespace .Release.Namespace)
  (or (not .Values.global.workspaces.createNamespace) .Values.global.storage.shared.existingClaim (lookup "v1" "Namespace" "" $namespace)) -}}
yes
{{- end }}
{{- end }}

{{/* What guard has to prove before anything is created. */}}
{{- define "neutree.guard.spec" -}}
{{- $global := .Values.global -}}
{{- $namespace := include "common.workspaceNamespace" . -}}
namespace: {{ .Release.Namespace }}
storageClasses:
  {{- if not (include "common.externalDatabase" .) }}
  - purpose: PostgreSQL
    value: global.database.cnpg.storage.storageClass
    name: {{ $global.database.cnpg.storage.storageClass | quote }}
    accessMode: ReadWriteOnce
    pvc:
      namespace: {{ .Release.Namespace | quote }}
      selector: cnpg.io/cluster={{ include "common.name" (list . "pg") }},cnpg.io/pvcRole=PG_DATA
      count: {{ $global.database.cnpg.instances }}
  {{- end }}
  {{- if eq (include "common.sharedSource" .) "class" }}
  - purpose: the volume that all workspaces share
    value: global.storage.shared.storageClass
    name: {{ $global.storage.shared.storageClass | quote }}
    accessMode: {{ $global.storage.shared.accessMode }}
    pvc: {namespace: {{ $namespace | quote }}, name: {{ include "common.sharedClaim" . | quote }}}
  {{- end }}
  {{- if not $global.storage.afsController.existingClaim }}
  - purpose: the AFS controller's database
    value: global.storage.afsController.storageClass
    name: {{ $global.storage.afsController.storageClass | quote }}
    accessMode: {{ $global.storage.afsController.accessMode }}
    pvc: {namespace: {{ .Release.Namespace | quote }}, name: {{ include "common.afsControllerClaim" . | quote }}}
  {{- end }}
  {{- if $global.backup.enabled }}
  - purpose: the backups
    value: global.backup.storageClass
    name: {{ $global.backup.storageClass | quote }}
    accessMode: {{ $global.backup.accessMode }}
    pvc: {namespace: {{ .Release.Namespace | quote }}, name: {{ include "common.name" (list . "backups") | quote }}}
  {{- end }}
  - purpose: the volume of each workspace
    value: global.workspaces.storageClass
    name: {{ $global.workspaces.storageClass | quote }}
    accessMode: {{ $global.workspaces.multiReplica | ternary "ReadWriteMany" "ReadWriteOnce" }}
    chosen:
      configMap: {{ include "common.storageConfigMap" . | quote }}
      key: {{ include "common.workspaceClassKey" . }}
{{- include "neutree.guard.volumes" . }}
{{- if eq $global.exposure.type "nodePort" }}
nodePorts:
  {{- include "neutree.nodePorts" . | trim | nindent 2 }}
{{- end }}
podSecurity:
  {{- if eq $namespace .Release.Namespace }}
  - namespace: {{ $namespace }}
    level: privileged
    value: global.workspaces.namespace
  {{- else }}
  {{- $relay := dig "coturn" dict (.Values.browser | default dict) }}
  {{- if and $global.modules.browser.enabled $relay.enabled (has $relay.network (list "hostNetwork" "hostPort")) }}
  - namespace: {{ .Release.Namespace }}
    level: privileged
    value: browser.coturn.network
    account: {{ include "neutree.prepare.jobsAccount" . }}
  {{- else }}
  - namespace: {{ .Release.Namespace }}
    level: {{ eq (int .Values.workspaceRuntime.afsController.runAsUser) 0 | ternary "baseline" "restricted" }}
    value: helm --namespace
    account: {{ include "neutree.prepare.jobsAccount" . }}
    {{- if $global.openshift.enabled }}
    noUser: true
    {{- end }}
  {{- end }}
  - namespace: {{ $namespace }}
    level: privileged
    value: global.workspaces.namespace
    {{- if not (include "neutree.workspaceNamespaceExists" .) }}
    # The right to try a pod there comes with the namespace.
    labelsOnly: true
    {{- end }}
  {{- end }}
kubernetes:
  # The oldest that the operator of the bundled CloudNativePG chart is tested with.
  tested: {{ (include "common.facts" . | fromJson).operator.kubernetes | quote }}
{{- end }}

{{/* Ports of the nodes by which users reach services: of each its Service, number and value, as a YAML list. */}}
{{- define "neutree.nodePorts" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $service := . }}
{{- with (get $facts.services .).nodePort }}
{{- $names := list (include "common.serviceName" (list $ $service)) }}
{{- if eq $service "cp" }}
{{- $names = append $names (include "common.frontService" $) }}
{{- if include "common.frontHolds" $ }}{{ $names = reverse $names }}{{ end }}
{{- end }}
- service: {{ first $names }}
  {{- with rest $names }}
  # The port may change hands.
  before: {{ toJson . }}
  {{- end }}
  port: {{ get $.Values.global.exposure.nodePorts . }}
  value: global.exposure.nodePorts.{{ . }}
{{- end }}
{{- end }}
{{- end }}
