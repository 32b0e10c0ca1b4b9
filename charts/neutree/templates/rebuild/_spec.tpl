{{/* What has to be new before workspaces are rebuilt, and which call rebuilds them. */}}
{{- define "neutree.rebuild.spec" -}}
namespace: {{ .Release.Namespace }}
deployments: {{ include "neutree.rebuild.deployments" . | fromYamlArray | toJson }}
url: {{ include "common.serviceURL" (list . "cp") }}/api/admin/cluster/rebuild-stale
{{- end }}

{{/* The Deployments that rebuild: the control plane decides, and the env runner acts. A YAML list. */}}
{{- define "neutree.rebuild.deployments" -}}
- {{ include "common.serviceName" (list . "cp") }}
- {{ include "common.serviceName" (list . "env-runner-k8s") }}
{{- end }}

{{- define "neutree.rebuild.rules" -}}
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: {{ include "neutree.rebuild.deployments" . | fromYamlArray | toJson }}
  verbs: [get]
{{- end }}
