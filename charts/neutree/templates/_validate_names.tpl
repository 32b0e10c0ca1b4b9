{{/* Pattern of a host name or an IPv4 address. */}}
{{- define "neutree.hostPattern" -}}
[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*
{{- end }}

{{/* Pattern of what comes between scheme and path of a URL: a host or an IPv6 address, and a port if any. */}}
{{- define "neutree.authorityPattern" -}}
({{ include "neutree.hostPattern" . }}|\[[0-9A-Fa-f:]+\])(:[0-9]+)?
{{- end }}

{{/* Names that can't be used although Kubernetes admits them, as a YAML list of sentences. */}}
{{- define "neutree.validate.names" -}}
{{- $problems := list -}}
{{- range $what, $name := dict
  "the release" .Release.Name
  "its namespace (helm --namespace)" .Release.Namespace
  "global.workspaces.namespace" .Values.global.workspaces.namespace
  "global.storage.shared.existingClaim" .Values.global.storage.shared.existingClaim
  "global.storage.afsController.existingClaim" .Values.global.storage.afsController.existingClaim }}
{{- if and $name (not (kindIs "string" (printf "name: %s" $name | fromYaml).name)) }}
{{- $problems = append $problems (printf "the name of %s is %s, which YAML reads as a number or a truth value where it is not quoted, as in the chart of CloudNativePG: choose a name that it reads as text, such as nap-%s" $what $name $name) }}
{{- end }}
{{- end }}
{{- range $host := list .Values.global.storage.shared.nfs.server }}
{{- if and $host (not (regexMatch (printf "^(%s|[0-9A-Fa-f]*:[0-9A-Fa-f:]+)$" (include "neutree.hostPattern" $)) $host)) }}
{{- $problems = append $problems (printf "global.storage.shared.nfs.server %q is no host name and no address: leave out scheme, port and path; the path is global.storage.shared.nfs.path" $host) }}
{{- end }}
{{- end }}
{{- with .Values.global.storage.shared.nodeLocal.node }}
{{- if not (regexMatch `^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$` .) }}
{{- $problems = append $problems (printf "global.storage.shared.nodeLocal.node %q can't be the label kubernetes.io/hostname of a node: set it to that label, which kubectl get nodes --label-columns kubernetes.io/hostname prints" .) }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
