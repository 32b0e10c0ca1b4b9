{{/*
What users reach, by host, as a YAML list of {name, host, paths}. A path leads to a port of a Service, or nowhere:
the longer of two paths wins.
*/}}
{{- define "neutree.routes" -}}
- name: web
  host: {{ include "common.hostOf" (include "common.webURL" .) | quote }}
  paths:
    # Workspaces and services talk to the control plane on these, some without any password.
    {{- range include "common.closedPaths" . | fromYamlArray }}
    - path: {{ . }}
    {{- end }}
    {{- if .Values.global.exposure.webhooks }}
    # And nothing else of the channel gateway, which trusts whoever reaches it.
    - {path: /webhook, {{ include "neutree.backend" (list . "cg") }}}
    {{- end }}
    - {path: /, {{ include "neutree.backend" (list . "cp") }}}
{{- if ne (include "common.filesURL" .) (include "common.webURL" .) }}
- name: files
  host: {{ include "common.hostOf" (include "common.filesURL" .) | quote }}
  paths:
    - {path: /, {{ include "neutree.backend" (list . "cp") }}}
{{- end }}
{{- if .Values.global.modules.browser.enabled }}
- name: browser
  host: {{ include "common.hostOf" (include "common.browserURL" .) | quote }}
  paths:
    - {path: /, {{ include "neutree.backend" (list . "browser") }}}
{{- end }}
{{- if .Values.global.modules.sandbox.enabled }}
{{- $sandbox := include "common.hostOf" (include "common.sandboxURL" .) }}
- name: sandbox
  host: {{ $sandbox | quote }}
  paths:
    - {path: /, {{ include "neutree.backend" (list . "sandbox") }}}
# What runs in a sandbox.
- name: sandbox-previews
  host: "*.{{ $sandbox }}"
  wildcard: true
  paths:
    - {path: /, {{ include "neutree.backend" (list . "sandbox") }}}
{{- end }}
{{- end }}

{{/* The Service that a path leads to. Usage: include "neutree.backend" (list $ "cp") */}}
{{- define "neutree.backend" -}}
service: {{ include "common.serviceName" . }}, port: {{ include "common.servicePort" . }}
{{- end }}

{{/* Service of paths that lead nowhere, for an Ingress. */}}
{{- define "neutree.closedService" -}}
{{ include "common.name" (list . "closed") }}
{{- end }}

{{/* Annotations by which a known controller lets streams of hours, WebSockets and uploads of any size pass. */}}
{{- define "neutree.ingress.annotations" -}}
{{- $ingress := .Values.global.exposure.ingress -}}
{{- $tls := .Values.global.exposure.tls.enabled -}}
{{- $known := dict
  "nginx" (dict
    "nginx.ingress.kubernetes.io/proxy-read-timeout" "86400"
    "nginx.ingress.kubernetes.io/proxy-send-timeout" "86400"
    "nginx.ingress.kubernetes.io/proxy-body-size" "0"
    "nginx.ingress.kubernetes.io/proxy-buffering" "off"
    "nginx.ingress.kubernetes.io/proxy-request-buffering" "off")
  "traefik" (dict
    "traefik.ingress.kubernetes.io/router.entrypoints" ($tls | ternary "websecure" "web")
    "traefik.ingress.kubernetes.io/router.tls" ($tls | toString))
  "contour" (dict
    "projectcontour.io/response-timeout" "infinity"
    "projectcontour.io/websocket-routes" "/")
-}}
{{- merge (deepCopy $ingress.annotations) (get $known ($ingress.controller | default $ingress.className) | default dict) | toYaml }}
{{- end }}

{{/*
Secret with a certificate; empty where the controller has one of its own.
Usage: include "neutree.ingress.tlsSecret" (list $ <as given> <suffix of one that cert-manager makes>)
*/}}
{{- define "neutree.ingress.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- $annotations := $root.Values.global.exposure.ingress.annotations -}}
{{- if index . 1 -}}
{{ index . 1 }}
{{- else if or (get $annotations "cert-manager.io/cluster-issuer") (get $annotations "cert-manager.io/issuer") -}}
{{ include "common.name" (list $root (index . 2)) }}
{{- end }}
{{- end }}
