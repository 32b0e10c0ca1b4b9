{{/*
Not empty when services that fetch addresses of users are kept from the metadata service of a cloud. To Cilium a range of
addresses is never a node or the API server, which the control plane calls.
*/}}
{{- define "neutree.metadata.closed" -}}
{{- $policies := .Values.global.networkPolicies -}}
{{- if and $policies.enabled (ne $policies.metadataEgress "open") -}}
{{- if or (eq $policies.metadataEgress "closed") (not (.Capabilities.APIVersions.Has "cilium.io/v2")) -}}
yes
{{- end -}}
{{- end -}}
{{- end }}
