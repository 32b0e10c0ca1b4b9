{{/*
NetworkPolicy of one service: what may reach it. Everything it may reach itself is left open, unless it has nobody to
call: where models, directories and repositories are the chart can't know. Probes need no rule, since a node always
reaches its own pods. Takes an "app", and:
  ingress  YAML list of rules
  isolated true for a service that calls nobody
*/}}
{{- define "common.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "common.selector" . | nindent 6 }}
  policyTypes: [Ingress{{ if .isolated }}, Egress{{ end }}]
  ingress:
    {{- .ingress | nindent 4 }}
{{- end }}

{{/* Peers: pods of the platform, by their names without the prefix. Usage: include "common.peers" (list $ "cp" "scheduler") */}}
{{- define "common.peers" -}}
{{- $root := first . -}}
{{- $names := list -}}
{{- range rest . }}
{{- $names = append $names (include "common.name" (list $root .)) }}
{{- end -}}
- podSelector:
    matchExpressions:
      - {key: app, operator: In, values: {{ $names | toJson }}}
{{- end }}

{{/* Peer: the workspaces. */}}
{{- define "common.workspacePeer" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ include "common.workspaceNamespace" . }}
  podSelector:
    matchLabels:
      app: {{ (include "common.facts" . | fromJson).workspaces.app }}
{{- end }}
