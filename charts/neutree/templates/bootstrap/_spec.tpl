{{/* Pull secrets that bootstrap copies into the workspaces' namespace, as a YAML list. */}}
{{- define "neutree.copiedPullSecrets" -}}
{{- if ne (include "common.workspaceNamespace" .) .Release.Namespace }}
{{- include "common.pullSecretNames" . }}
{{- else -}}
[]
{{- end }}
{{- end }}

{{/* What bootstrap has to do. */}}
{{- define "neutree.bootstrap.spec" -}}
{{- $workspaces := .Values.global.workspaces -}}
namespace: {{ .Release.Namespace }}
release: {{ .Release.Name }}
restoreNote: {{ include "neutree.restoreNote" . }}
set: {{ include "common.migrationSet" . }}
{{- with .Values.global.commonLabels }}
labels: {{ toJson . }}
{{- end }}
database:
  mode: {{ .Values.global.database.mode }}
  {{- if include "common.externalDatabase" . }}
  external: {connections: {{ include "common.connections" . }}}
  {{- else }}
  cluster: {{ include "common.name" (list . "pg") }}
  manifest: /spec/cluster.yaml
  {{- end }}
{{- if ne (include "common.sharedSource" .) "claim" }}
sharedClaim:
  manifest: /spec/claim.yaml
  defaultSize: {{ empty .Values.global.storage.shared.size }}
{{- end }}
workspaces:
  namespace: {{ include "common.workspaceNamespace" . }}
  pullSecrets: {{ include "neutree.copiedPullSecrets" . | fromYamlArray | toJson }}
storage:
  configMap: {{ include "common.storageConfigMap" . }}
  classes:
    - key: {{ include "common.workspaceClassKey" . }}
      name: {{ $workspaces.storageClass | quote }}
      accessMode: {{ $workspaces.multiReplica | ternary "ReadWriteMany" "ReadWriteOnce" }}
      value: global.workspaces.storageClass
{{ include "neutree.migrations" . }}
seconds: {{ .Values.global.hooks.timeouts.bootstrap }}
{{- if include "neutree.backup.beforeUpgrade" . }}
backup: {{ include "neutree.backup.app" . }}
{{- end }}
{{- if include "neutree.backup.scheduled" . }}
scheduled: {{ include "neutree.backup.app" . }}
{{- end }}
encryptionKey: {secret: {{ include "common.keysSecret" . | quote }}, key: CREDENTIAL_ENCRYPTION_KEY}
{{ include "neutree.gate.allow" . }}
egress:
  policy: {{ include "neutree.egress.policy" . }}
  mode: {{ .Values.global.networkPolicies.workspaceEgress.mode }}
  {{- if .Values.global.networkPolicies.enabled }}
  manifest: /spec/egress.yaml
  {{- end }}
{{- $auto := eq .Values.global.exposure.internalPaths "auto" }}
{{- if and $auto (include "common.hasFront" .) (not (include "common.frontHolds" .)) }}
openNodePort: {{ .Values.global.exposure.nodePorts.web }}
{{- end }}
{{- if include "common.frontTied" . }}
front:
  service: {{ include "common.frontService" . }}
  configMap: {{ include "neutree.rollback.oldConfigMap" . }}
{{- end }}
{{- if index .Values "cloudnative-pg" "enabled" }}
operator:
  {{- include "neutree.operator.spec" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The migrations that init containers have put beside nap-hooks, as its specs name them. */}}
{{- define "neutree.migrations" -}}
migrations:
  {{- range include "common.migrationSources" . | fromYamlArray }}
  - source: {{ .source }}
    dir: /neutree/migrations/{{ .source }}
    set: {{ .set }}
  {{- end }}
{{- end }}

{{/*
Name of the Job and of the ConfigMap that it mounts. It tells their content: a Job can't be changed, and a pod of an
older Job that starts once more must not find the spec of a newer one beside its own migrations.
*/}}
{{- define "neutree.bootstrap.name" -}}
{{- $base := include "common.name" (list . "bootstrap") -}}
{{- $content := printf "%s\n%s" (include "neutree.bootstrap.jobSpec" (list . $base)) (include "neutree.bootstrap.data" .) -}}
{{ $base }}-{{ $content | sha256sum | trunc 10 }}
{{- end }}

{{/* Spec of the Job. Usage: include "neutree.bootstrap.jobSpec" (list $ <ConfigMap>) */}}
{{- define "neutree.bootstrap.jobSpec" -}}
{{- $root := index . 0 -}}
{{- $name := include "common.name" (list $root "bootstrap") -}}
{{- $timeouts := $root.Values.global.hooks.timeouts -}}
{{- /* The backup of a database that the hook before this phase could not migrate has its own time. */ -}}
{{- $backup := add $timeouts.backup $timeouts.start 600 -}}
{{- if not (include "neutree.backup.beforeUpgrade" $root) }}{{ $backup = 0 }}{{ end -}}
{{- /* Ten minutes more than other Jobs have to start: this one also pulls the images that carry migrations. */ -}}
{{ include "common.jobSpec" (dict "root" $root "name" $name "component" "bootstrap"
  "configMap" (index . 1) "serviceAccount" $name "automount" true
  "command" "bootstrap" "timeout" (add $timeouts.bootstrap $backup)
  "startSeconds" (add $timeouts.start 600)
  "retries" 6
  "env" (printf "%s\n%s" (include "neutree.bootstrap.env" $root) (include "neutree.bootstrap.addresses" $root))
  "initContainers" (include "neutree.bootstrap.initContainers" $root)) }}
{{- end }}

{{/* Data of the ConfigMap that the Job mounts. */}}
{{- define "neutree.bootstrap.data" -}}
bootstrap.yaml: |
  {{- include "neutree.bootstrap.spec" . | nindent 2 }}
{{- if not (include "common.externalDatabase" .) }}
cluster.yaml: |
  {{- include "neutree.cluster" . | nindent 2 }}
{{- end }}
{{- if ne (include "common.sharedSource" .) "claim" }}
claim.yaml: |
  {{- include "neutree.sharedClaim" . | nindent 2 }}
{{- end }}
{{- if .Values.global.networkPolicies.enabled }}
egress.yaml: |
  {{- include "neutree.egress.manifest" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Init containers that bring the migrations out of the services' images. */}}
{{- define "neutree.bootstrap.initContainers" -}}
{{ include "common.installHooks" . }}
{{- range include "common.migrationSources" . | fromYamlArray }}
{{ include "common.hooksContainer" (dict "root" $ "image" .image "name" (printf "migrations-%s" .source)
  "args" (list "copy" (printf "--from=%s" .folder) (printf "--to=/neutree/migrations/%s" .source))) }}
{{- end }}
{{- end }}

{{/* Migrations may encrypt with the key that credentials are stored with. */}}
{{- define "neutree.bootstrap.env" -}}
{{ include "common.databaseEnv" . }}
{{ include "common.secretEnv" (list "CREDENTIAL_ENCRYPTION_KEY" (include "common.keysSecret" .) "CREDENTIAL_ENCRYPTION_KEY") }}
{{- end }}

{{/* By its own addresses the Job knows the IP families of the cluster. */}}
{{- define "neutree.bootstrap.addresses" -}}
- name: POD_IPS
  valueFrom:
    fieldRef:
      fieldPath: status.podIPs
{{- end }}
