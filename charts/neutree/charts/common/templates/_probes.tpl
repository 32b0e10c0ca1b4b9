{{/*
Probes of a service. Asked each second while it starts, it is ready a second after it can be, and has time to come up
before it is started again; each answer is a line in its log, so afterwards it is asked seldom. A container that ends is
noticed at once; one that hangs gets no more requests after 20 seconds and is started again after 60. One that listens on
no port has nothing to probe. Usage: include "common.probes" (list <facts of the service> <its values>)
*/}}
{{- define "common.probes" -}}
{{- $facts := index . 0 -}}
{{- $start := $facts.start | default dict -}}
{{- $seconds := (index . 1).startSeconds | default $start.seconds | default 60 -}}
{{- with $facts.port -}}
{{- $ask := dict "tcpSocket" (dict "port" $facts.portName) -}}
{{- if $facts.health }}
{{- $ask = dict "httpGet" (dict "path" $facts.health "port" $facts.portName) }}
{{- else -}}
# It serves no health check, so an open port is all that can be asked for.
{{ end -}}
{{- with $start.why -}}
# {{ . }}
{{ end -}}
startupProbe:
  {{- toYaml $ask | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: {{ $seconds }}
  # It has nothing yet that must end in good order.
  terminationGracePeriodSeconds: 2
readinessProbe:
  {{- toYaml $ask | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  {{- toYaml $ask | nindent 2 }}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
{{- end }}
