{{- define "workspaceRuntime.runner.env" -}}
{{ include "common.databaseEnv" . }}
{{ include "common.workspaceEnv" . }}
{{- end }}
