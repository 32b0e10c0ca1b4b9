{{/*
Probes of a service that answers HTTP. It is ready within two seconds of being able to, and has
startSeconds to come up before it is started again.
Usage: include "common.probes" (dict "path" "/healthz" "port" "http" "startSeconds" 120)
*/}}
{{- define "common.probes" -}}
startupProbe:
  httpGet:
    path: {{ .path }}
    port: {{ .port }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: {{ div .startSeconds 2 }}
readinessProbe:
  httpGet:
    path: {{ .path }}
    port: {{ .port }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
livenessProbe:
  httpGet:
    path: {{ .path }}
    port: {{ .port }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}
