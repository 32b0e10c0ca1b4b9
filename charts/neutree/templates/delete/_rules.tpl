{{/* Rights in the release's namespace. */}}
{{- define "neutree.delete.rules" -}}
{{- $spec := include "neutree.delete.spec" . | fromYaml -}}
# To see whether the release is really being uninstalled, and what of its data there is.
- apiGroups: [""]
  resources: [secrets, configmaps, persistentvolumeclaims]
  verbs: [list]
{{- with $spec.secrets }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [delete]
{{- end }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: {{ toJson $spec.configMaps }}
  verbs: [delete]
{{- with include "neutree.delete.claims" (list $ $.Release.Namespace) | fromJsonArray }}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: {{ toJson . }}
  verbs: [delete]
{{- end }}
- apiGroups: [batch]
  resources: [jobs]
  resourceNames: {{ toJson $spec.jobs }}
  verbs: [delete]
{{- with $spec.cluster }}
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  resourceNames: [{{ . }}]
  verbs: [get, delete]
{{- end }}
{{- with $spec.leases }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: {{ toJson . }}
  verbs: [delete]
{{- end }}
{{- end }}

{{/* Rights in the cluster. */}}
{{- define "neutree.delete.clusterRules" -}}
{{- $spec := include "neutree.delete.spec" . | fromYaml -}}
# Which volumes hold the data, and are they gone?
- apiGroups: [""]
  resources: [persistentvolumes]
  verbs: [list]
{{- if $spec.workspaces.created }}
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [{{ $spec.workspaces.namespace | quote }}]
  verbs: [get, delete]
{{- end }}
{{- if $spec.crdGroup }}
# To list those that stay.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list]
{{- end }}
{{- end }}

{{/* Rights in the workspaces' namespace, where that is not deleted itself. */}}
{{- define "neutree.delete.workspaceRules" -}}
{{- $namespace := include "common.workspaceNamespace" . -}}
{{- if and (not (include "neutree.delete.workspaces" .)) (ne $namespace .Release.Namespace) }}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list]
{{- with include "neutree.delete.claims" (list . $namespace) | fromJsonArray }}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: {{ toJson . }}
  verbs: [delete]
{{- end }}
{{- end }}
{{- end }}
