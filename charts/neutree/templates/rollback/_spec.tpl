{{/* What a rollback has to look at. */}}
{{- define "neutree.rollback.spec" -}}
namespace: {{ .Release.Namespace }}
release: {{ .Release.Name }}
configMap: {{ include "neutree.installation" . }}
database:
  {{- include "neutree.prepare.database" . | nindent 2 }}
{{- if include "neutree.operator.concerns" . }}
operator:
  {{- include "neutree.operator.spec" . | nindent 2 }}
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
  verbs: [get]
{{- end }}
- apiGroups: [""]
  resources: [pods, events, persistentvolumeclaims]
  verbs: [list]
# A rollback takes no values: an annotation lets it pass.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "neutree.installation" . }}]
  verbs: [get]
{{- include "neutree.operator.rules" (list . .Release.Namespace) }}
{{- end }}
