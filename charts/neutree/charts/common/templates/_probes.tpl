{{/*
Probes of a service, from its facts. It is ready within two seconds of being able to, and has time to come up before it
is started again. One that listens on no port has nothing to probe.
*/}}
{{- define "common.probes" -}}
{{- if .health -}}
{{- $get := dict "path" .health "port" .portName -}}
{{- with .start.why -}}
# {{ . }}
{{ end -}}
startupProbe:
  httpGet:
    {{- toYaml $get | nindent 4 }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: {{ div .start.seconds 2 }}
readinessProbe:
  httpGet:
    {{- toYaml $get | nindent 4 }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 3
livenessProbe:
  httpGet:
    {{- toYaml $get | nindent 4 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- else if .port -}}
# It serves no health check, so an open port is all that can be asked for.
readinessProbe:
  tcpSocket:
    port: {{ .portName }}
  periodSeconds: 2
livenessProbe:
  tcpSocket:
    port: {{ .portName }}
  initialDelaySeconds: 10
  periodSeconds: 10
  failureThreshold: 6
{{- end }}
{{- end }}
