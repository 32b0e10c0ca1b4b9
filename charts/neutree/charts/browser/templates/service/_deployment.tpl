{{/* Deployment of the browser service. */}}
{{- define "browser.service.deployment" -}}
{{- include "common.deployment" (dict "root" . "service" "browser" "values" .Values.service
  "env" (include "browser.env" .)) }}
{{- end }}
