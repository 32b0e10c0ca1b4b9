{{/* What an uninstall has to stop. */}}
{{- define "neutree.teardown.spec" -}}
namespace: {{ .Release.Namespace }}
release: {{ .Release.Name }}
{{- if not (include "common.externalDatabase" .) }}
cluster: {{ include "common.name" (list . "pg") }}
{{- end }}
runner: {{ include "common.name" (list . "env-runner-k8s") }}
workspaces:
  namespace: {{ include "common.workspaceNamespace" . }}
{{- if include "neutree.delete.asked" . }}
deleteData: true
revision: {{ .Release.Revision }}
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
# Its name tells what it did: the one that ran may be of another revision than the newest.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, delete]
{{- if not (include "common.externalDatabase" .) }}
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  resourceNames: [{{ include "common.name" (list . "pg") }}]
  verbs: [get, patch]
{{- end }}
{{- end }}
