{{/*
Binding of a role to the ServiceAccount of the same app. Takes a dict:
  app        dict with root, name, component
  name       name of the role and of the binding
  namespace  where they are; none for a ClusterRole
*/}}
{{- define "common.roleBinding" -}}
{{- $kind := .namespace | empty | ternary "ClusterRole" "Role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  {{- include "common.roleMetadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .app.name }}
    namespace: {{ .app.root.Release.Namespace }}
{{- end }}

{{/* Role with rules, a YAML list. Takes the same dict with "rules". */}}
{{- define "common.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ .namespace | empty | ternary "ClusterRole" "Role" }}
metadata:
  {{- include "common.roleMetadata" . | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
{{- end }}

{{- define "common.roleMetadata" -}}
name: {{ .name }}
{{- with .namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "common.labels" .app | nindent 2 }}
{{- end }}
