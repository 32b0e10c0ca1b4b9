{{/*
Init container that holds a service back until its release's migrations are applied and the URLs given answer.
Usage: include "common.wait" (dict "root" $ "http" (list <url>))
*/}}
{{- define "common.wait" -}}
{{- $hooks := .root.Values.global.hooks -}}
- name: wait
  image: {{ include "common.hooksImage" .root }}
  {{- with include "common.imagePullPolicy" .root }}{{ nindent 2 . }}{{ end }}
  args:
    - wait
    - --set={{ include "common.migrationSet" .root }}
    - --timeout={{ $hooks.timeouts.wait }}s
    {{- range .http }}
    - --http={{ . }}
    {{- end }}
  env:
    {{- include "common.databaseEnv" .root | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  resources:
    {{- toYaml $hooks.resources | nindent 4 }}
  securityContext:
    {{- include "common.containerSecurityContext" . | nindent 4 }}
  {{- with include "common.databaseMount" .root }}
  volumeMounts:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}
