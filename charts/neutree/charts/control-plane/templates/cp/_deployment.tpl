{{/* Deployment of the control plane. */}}
{{- define "controlPlane.cp.deployment" -}}
{{- /* One pod: it keeps streams, locks and timers in memory and elects no leader. */ -}}
{{- include "common.deployment" (dict "root" . "service" "cp" "values" .Values.cp
  "env" (include "controlPlane.cp.env" .) "sidecars" (include "common.frontContainers" . | trim)) }}
{{- end }}
