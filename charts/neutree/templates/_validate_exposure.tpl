{{/* Contradictions in how users reach the platform, as a YAML list of sentences. */}}
{{- define "neutree.validate.exposure" -}}
{{- $global := .Values.global -}}
{{- $exposure := $global.exposure -}}
{{- $problems := list -}}
{{- if include "common.routed" . }}
{{- if not (or $global.host $global.publicUrls.web) }}
{{- $problems = append $problems (printf "global.exposure.type %s tells requests apart by host, and there is none: set global.host to the name under which users reach the platform" $exposure.type) }}
{{- else if include "common.isAddress" (include "common.webURL" .) }}
{{- $problems = append $problems (printf "global.exposure.type %s tells requests apart by host, and %q has an address instead of a name: give it a name, or set global.exposure.type to nodePort" $exposure.type (include "common.webURL" .)) }}
{{- end }}
{{- end }}
{{- if and (eq $exposure.type "gateway") (not $exposure.gateway.parentRefs) }}
{{- $problems = append $problems "global.exposure.type gateway needs a Gateway: name it in global.exposure.gateway.parentRefs" }}
{{- end }}
{{- range $key := list "secretName" "wildcardSecretName" }}
{{- if and (get $exposure.tls $key) (not (and (eq $exposure.type "ingress") $exposure.tls.enabled)) }}
{{- $problems = append $problems (printf "global.exposure.tls.%s %q is used by type ingress with tls.enabled only: with type gateway the certificate belongs to the Gateway's listener" $key (get $exposure.tls $key)) }}
{{- end }}
{{- end }}
{{- if eq $exposure.type "nodePort" }}
{{- $taken := dict }}
{{- range include "neutree.nodePorts" . | fromYamlArray }}
{{- $port := toString .port }}
{{- $key := trimPrefix "global.exposure.nodePorts." .value }}
{{- with get $taken $port }}
{{- $problems = append $problems (printf "global.exposure.nodePorts.%s and .%s are both %s: give each a port of its own" . $key $port) }}
{{- end }}
{{- $_ := set $taken $port $key }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
