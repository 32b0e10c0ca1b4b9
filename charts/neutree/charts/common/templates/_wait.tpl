{{/*
Init container that holds a service back until migrations are applied and the URLs given answer: those of its own image,
if it has any, else those of the control plane of whatever release, so that only what changed restarts.
Usage: include "common.wait" (dict "root" $ "source" "gateway" "http" (list <url>))
*/}}
{{- define "common.wait" -}}
{{- $hooks := .root.Values.global.hooks -}}
- name: wait
  image: {{ include "common.hooksImage" .root }}
  {{- with include "common.imagePullPolicy" .root }}{{ nindent 2 . }}{{ end }}
  args:
    - wait
    {{- if .source }}
    {{- range include "common.migrationSources" .root | fromYamlArray }}
    {{- if eq .source $.source }}
    - --set={{ .set }}
    {{- end }}
    {{- end }}
    {{- else }}
    - --source=control-plane
    {{- end }}
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
