{{/* host:port of a service inside the cluster, valid in every namespace. Usage: include "common.serviceAddress" (list $ "cp") */}}
{{- define "common.serviceAddress" -}}
{{ include "common.serviceName" . }}.{{ (index . 0).Release.Namespace }}.svc:{{ include "common.servicePort" . }}
{{- end }}

{{/* The same as a URL. */}}
{{- define "common.serviceURL" -}}
http://{{ include "common.serviceAddress" . }}
{{- end }}

{{/* URL that answers when the service is up. */}}
{{- define "common.healthURL" -}}
{{ include "common.serviceURL" . }}{{ (get (include "common.facts" . | fromJson).services (index . 1)).health }}
{{- end }}

{{/* Port of its Service. */}}
{{- define "common.servicePort" -}}
{{ (get (include "common.facts" . | fromJson).services (index . 1)).servicePort }}
{{- end }}

{{/* Origin under which users reach the web interface. */}}
{{- define "common.webURL" -}}
{{- $global := .Values.global -}}
{{- $host := $global.host | default "localhost" | lower -}}
{{- if $global.publicUrls.web -}}
{{ $global.publicUrls.web | lower }}
{{- else if eq $global.exposure.type "nodePort" -}}
http://{{ $host }}:{{ $global.exposure.nodePorts.web }}
{{- else if include "common.routed" . -}}
{{ $global.exposure.tls.enabled | ternary "https" "http" }}://{{ $host }}
{{- else -}}
http://{{ $host }}:{{ include "common.servicePort" (list . "cp") }}
{{- end }}
{{- end }}

{{/*
Origin under which users fetch exported files. The control plane tells them apart by a host that starts with
"files.", which an IP address can't have: there it is empty, and links to exported files do not work.
*/}}
{{- define "common.filesURL" -}}
{{- $web := include "common.webURL" . -}}
{{- if .Values.global.publicUrls.files -}}
{{ .Values.global.publicUrls.files | lower }}
{{- else if not (include "common.isAddress" $web) -}}
{{ regexReplaceAll "^(https?://)" $web "${1}files." }}
{{- end }}
{{- end }}

{{/* Origin under which users reach sandboxes; what runs in one is a name below it. */}}
{{- define "common.sandboxURL" -}}
{{ include "common.moduleURL" (list . "sandbox" "sandbox") }}
{{- end }}

{{/* Origin under which users reach browsers. */}}
{{- define "common.browserURL" -}}
{{ include "common.moduleURL" (list . "browser" "browsers") }}
{{- end }}

{{/*
Origin of a module: as given, or on a port of its own, or by a name before that of the web interface.
Usage: include "common.moduleURL" (list $ <service> <name>)
*/}}
{{- define "common.moduleURL" -}}
{{- $root := index . 0 -}}
{{- $global := $root.Values.global -}}
{{- $web := include "common.webURL" $root -}}
{{- if get $global.publicUrls (index . 1) -}}
{{ get $global.publicUrls (index . 1) | lower }}
{{- else if include "common.routed" $root -}}
{{ regexReplaceAll "^(https?://)" $web (printf "${1}%s." (index . 2)) }}
{{- else -}}
http://{{ $global.host | default "localhost" | lower }}:{{ eq $global.exposure.type "nodePort" | ternary (get $global.exposure.nodePorts (index . 1)) (include "common.servicePort" .) }}
{{- end }}
{{- end }}

{{/* Not empty when the host of an origin is an IP address and no name. */}}
{{- define "common.isAddress" -}}
{{- if regexMatch `^https?://([0-9.]+(:[0-9]+)?|\[.*)$` . }}yes{{ end }}
{{- end }}

{{/* Not empty when users come through an Ingress or a Gateway, which know them by host and path. */}}
{{- define "common.routed" -}}
{{- if has .Values.global.exposure.type (list "ingress" "gateway") }}yes{{ end }}
{{- end }}

{{/* Host of an origin, without its port. */}}
{{- define "common.hostOf" -}}
{{ regexReplaceAll `^https?://([^:/]+).*$` . "${1}" }}
{{- end }}
