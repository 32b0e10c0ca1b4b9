{{/* Deployment of the sandbox service. */}}
{{- define "sandbox.service.deployment" -}}
{{- include "common.deployment" (dict "root" . "service" "sandbox" "values" .Values.service
  "env" (include "sandbox.env" .)) }}
{{- end }}
