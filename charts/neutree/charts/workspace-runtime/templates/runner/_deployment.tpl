{{/* Deployment of the env runner. */}}
{{- define "workspaceRuntime.runner.deployment" -}}
{{- include "common.deployment" (dict "root" . "service" "env-runner-k8s" "values" .Values.runner
  "env" (include "common.workspaceEnv" .)) }}
{{- end }}
