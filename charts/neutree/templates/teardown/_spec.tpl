{{/* What an uninstall has to stop. */}}
{{- define "neutree.teardown.spec" -}}
namespace: {{ .Release.Namespace }}
release: {{ .Release.Name }}
prefix: {{ .Values.global.namePrefix | quote }}
{{- if not (include "common.externalDatabase" .) }}
cluster: {{ include "common.name" (list . "pg") }}
{{- end }}
restoreNote: {{ include "neutree.restoreNote" . }}
keyring: {{ include "neutree.rotate.keyring" . }}
runner: {{ include "common.name" (list . "env-runner-k8s") }}
workspaces:
  namespace: {{ include "common.workspaceNamespace" . }}
  policy: {{ include "neutree.egress.policy" . }}
{{- if include "neutree.delete.asked" . }}
deleteData: true
revision: {{ .Release.Revision }}
{{- end }}
{{- if index .Values "cloudnative-pg" "enabled" }}
operator:
  {{- include "neutree.operator.spec" . | nindent 2 }}
  allowChange: {{ .Values.uninstall.allowOperatorRemoval }}
{{- end }}
{{- end }}

{{/* Rights in the release's namespace. */}}
{{- define "neutree.teardown.rules" -}}
# To see whether the release is really being uninstalled, and to say what is kept.
- apiGroups: [""]
  resources: [secrets, configmaps, pods, persistentvolumeclaims]
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments/scale]
  resourceNames: [{{ include "common.name" (list . "env-runner-k8s") }}]
  verbs: [patch]
# What a restore that did not end has left.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "neutree.restoreNote" . }}]
  verbs: [get, delete]
# Its name tells what it did: the one that ran may be of another revision than the newest.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, delete]
- apiGroups: [batch]
  resources: [jobs]
  resourceNames: {{ include "neutree.upgradeHooks" . | fromYamlArray | toJson }}
  verbs: [patch]
{{- if not (include "common.externalDatabase" .) }}
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  resourceNames: [{{ include "common.name" (list . "pg") }}]
  verbs: [get, patch]
{{- end }}
{{- if index .Values "cloudnative-pg" "enabled" }}
# Whether an annotation lets the operator be removed that others depend on.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ include "neutree.installation" . }}]
  verbs: [get]
{{- include "neutree.operator.rules" (list . .Release.Namespace) }}
{{- end }}
{{- end }}
