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
set: {{ include "common.migrationSet" . }}
database:
  mode: {{ .Values.global.database.mode }}
  cluster: {{ include "common.name" (list . "pg") }}
  manifest: /spec/cluster.yaml
sharedClaim:
  manifest: /spec/claim.yaml
workspaces:
  namespace: {{ include "common.workspaceNamespace" . }}
  pullSecrets: {{ include "neutree.copiedPullSecrets" . | fromYamlArray | toJson }}
storage:
  configMap: {{ include "common.storageConfigMap" . }}
  classes:
    - key: workspaces
      name: {{ $workspaces.storageClass | quote }}
      accessMode: {{ $workspaces.multiReplica | ternary "ReadWriteMany" "ReadWriteOnce" }}
      value: global.workspaces.storageClass
migrations:
  {{- range include "common.migrationSources" . | fromYamlArray }}
  - source: {{ .source }}
    dir: /neutree/migrations/{{ .source }}
  {{- end }}
{{- end }}

{{/* Data of the ConfigMap that the Job mounts. */}}
{{- define "neutree.bootstrap.data" -}}
bootstrap.yaml: |
  {{- include "neutree.bootstrap.spec" . | nindent 2 }}
cluster.yaml: |
  {{- include "neutree.cluster" . | nindent 2 }}
claim.yaml: |
  {{- include "neutree.sharedClaim" . | nindent 2 }}
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
