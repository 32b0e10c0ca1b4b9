{{/*
Init container that holds a service back until migrations are applied, and until the control plane answers if it needs
that: the migrations of its own image, if it has any, else those of the control plane of whatever release, so that only
what changed restarts. Usage: include "common.wait" (list $ <facts of the service>)
*/}}
{{- define "common.wait" -}}
{{- $root := index . 0 -}}
{{- $facts := index . 1 -}}
{{- $hooks := $root.Values.global.hooks -}}
- name: wait
  image: {{ include "common.hooksImage" $root }}
  {{- with include "common.imagePullPolicy" $root }}{{ nindent 2 . }}{{ end }}
  args:
    - wait
    {{- if $facts.migrations }}
    {{- range include "common.migrationSources" $root | fromYamlArray }}
    {{- if eq .source $facts.migrations }}
    - --set={{ .set }}
    {{- end }}
    {{- end }}
    {{- else }}
    - --source=control-plane
    {{- end }}
    - --timeout={{ $hooks.timeouts.wait }}s
    {{- if $facts.awaitsControlPlane }}
    - --http={{ include "common.healthURL" (list $root "cp") }}
    {{- end }}
  env:
    {{- include "common.databaseEnv" $root | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  resources:
    {{- include "common.resources" $hooks.resources | nindent 4 }}
  securityContext:
    {{- include "common.containerSecurityContext" (dict) | nindent 4 }}
    {{- with include "common.meshUser" $root }}
    # Its connections are not sent to the proxy of the service mesh, which does not run yet.
    runAsUser: {{ . }}
    {{- end }}
  {{- with include "common.databaseMount" $root }}
  volumeMounts:
    {{- . | nindent 4 }}
  {{- end }}
{{- end }}
