{{/* Deployment of the office converter. */}}
{{- define "controlPlane.officeConverter.deployment" -}}
{{- include "common.deployment" (dict "root" . "service" "office-converter" "values" .Values.officeConverter
  "container" (dict "args" (list "gotenberg" "--api-timeout=120s"))) }}
{{- end }}
