{{/* Deployment of the channel gateway. */}}
{{- define "gateway.deployment" -}}
{{- /* One pod: each opens its own connection to every chat system, so with two, messages would be delivered twice. */ -}}
{{- include "common.deployment" (dict "root" . "service" "cg" "values" .Values
  "env" (include "gateway.env" .)) }}
{{- end }}
