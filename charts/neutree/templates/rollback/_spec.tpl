{{/* What a rollback has to look at. */}}
{{- define "neutree.rollback.spec" -}}
namespace: {{ .Release.Namespace }}
release: {{ .Release.Name }}
prefix: {{ .Values.global.namePrefix | quote }}
configMap: {{ include "neutree.installation" . }}
bootstrapJob: {{ include "neutree.bootstrap.name" . }}
restoreNote: {{ include "neutree.restoreNote" . }}
{{- with include "neutree.freePortOf" . }}
freePortOf: {{ . }}
{{- end }}
database:
  {{- include "neutree.prepare.database" . | nindent 2 }}
{{- if include "neutree.operator.concerns" . }}
operator:
  {{- include "neutree.operator.spec" . | nindent 2 }}
{{- end }}
{{- if not (include "common.externalDatabase" .) }}
manifest: /spec/cluster.yaml
{{- end }}
{{- end }}

{{/*
ConfigMap that versions before 0.2.0 use in this phase, and that this version does not: Helm deletes it before a
rollback to one of them.
*/}}
{{- define "neutree.rollback.oldConfigMap" -}}
{{ include "common.name" (list . "rollback") }}
{{- end }}

{{/* The one of this version. */}}
{{- define "neutree.rollback.configMap" -}}
{{ include "common.name" (list . "rollback-spec") }}
{{- end }}

{{/* Files for its Job. */}}
{{- define "neutree.rollback.data" -}}
{{ include "neutree.file" (list "rollback.yaml" (include "neutree.rollback.spec" .)) }}
{{- if not (include "common.externalDatabase" .) }}
{{ include "neutree.file" (list "cluster.yaml" (include "neutree.cluster" .)) }}
{{- end }}
{{- end }}

{{/* Rights in the release's namespace. */}}
{{- define "neutree.rollback.rules" -}}
# Where the database is, whether it runs, and what keeps it from answering.
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "common.databaseSecret" . }}]
  verbs: [get]
{{- if not (include "common.externalDatabase" .) }}
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  resourceNames: [{{ include "common.name" (list . "pg") }}]
  # Its older values come before any service is replaced.
  verbs: [get, patch]
{{- include "neutree.scaleRules" . }}
# The field manager of the replicas is set back with them.
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: {{ include "neutree.writers" . | fromYamlArray | toJson }}
  verbs: [get, patch]
{{- end }}
- apiGroups: [""]
  resources: [pods, events, persistentvolumeclaims]
  verbs: [list]
# What a cancelled upgrade left running is stopped. The name of its bootstrap Job depends on its content, which this
# revision can't know; a Job that Helm waits for is made to fail.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, delete]
- apiGroups: [batch]
  resources: [jobs]
  resourceNames: {{ include "neutree.upgradeHooks" . | fromYamlArray | toJson }}
  verbs: [patch]
# A rollback takes no values: an annotation lets it pass. The other one is there while a restore has not ended.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "neutree.installation" . }}, {{ include "neutree.restoreNote" . }}]
  verbs: [get]
{{- include "neutree.freePortRules" . }}
{{- include "neutree.operator.rules" (list . .Release.Namespace) }}
{{- end }}
