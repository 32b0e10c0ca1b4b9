{{/* Deployment of the skills service. */}}
{{- define "controlPlane.skills.deployment" -}}
{{- include "common.deployment" (dict "root" . "service" "skills" "values" .Values.skills
  "env" (include "controlPlane.skills.env" .)) }}
{{- end }}
