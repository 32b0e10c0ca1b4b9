{{/* Secret with the connection URL, made by the hooks. */}}
{{- define "common.databaseSecret" -}}
{{ include "common.name" (list . "database") }}
{{- end }}

{{- define "common.databaseEnv" -}}
{{ include "common.secretEnv" (list "DATABASE_URL" (include "common.databaseSecret" .) "url") }}
{{- end }}

{{/* Not empty when the database is one from outside. */}}
{{- define "common.externalDatabase" -}}
{{- if eq .Values.global.database.mode "external" }}yes{{ end }}
{{- end }}

{{/* File with the authorities that sign the database's certificate, for everything that connects. Empty: public ones. */}}
{{- define "common.databaseRootCert" -}}
{{- if and (include "common.externalDatabase" .) .Values.global.database.external.caSecret -}}
/etc/neutree/database-ca/ca.crt
{{- end }}
{{- end }}

{{- define "common.databaseMount" -}}
{{- with include "common.databaseRootCert" . -}}
- name: database-ca
  mountPath: {{ dir . }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "common.databaseVolume" -}}
{{- if include "common.databaseRootCert" . -}}
{{- $external := .Values.global.database.external -}}
- name: database-ca
  secret:
    # A hook that starts before it is there says so by its name, which Kubernetes would not.
    optional: true
    secretName: {{ $external.caSecret | quote }}
    items:
      - {key: {{ $external.caSecretKey | quote }}, path: ca.crt}
{{- end }}
{{- end }}

{{/*
The most connections that the services open at once: the sum of their pools, those of services that surge counted twice,
of the seeds, and what the operator uses.
*/}}
{{- define "common.connections" -}}
{{- $global := .Values.global -}}
{{- add ($global.rollout.surge | ternary 219 166) ($global.modules.sandbox.enabled | ternary 10 0) ($global.modules.browser.enabled | ternary 10 0) -}}
{{- end }}

{{/*
Where migrations come from: the image that carries them, the folder in it, and a name for what the two hold, which
services of that source wait for. In the order in which they are applied.
*/}}
{{- define "common.migrationSources" -}}
{{- $sources := list (list "control-plane" "controlPlane" "/app/migrations") (list "gateway" "gateway" "/app/channel-gateway/migrations") -}}
{{- if .Values.global.modules.sandbox.enabled }}
{{- $sources = append $sources (list "sandbox" "sandboxService" "/app/sandbox-service/migrations") }}
{{- end }}
{{- if .Values.global.modules.browser.enabled }}
{{- $sources = append $sources (list "browser" "browserService" "/app/browser-service/migrations") }}
{{- end }}
{{- range $sources }}
{{- $image := include "common.image" (list $ (index . 1)) }}
- source: {{ index . 0 }}
  image: {{ $image }}
  folder: {{ index . 2 }}
  set: {{ printf "%s %s" (index . 0) $image | sha256sum }}
{{- end }}
{{- end }}

{{/* Services that use the database, by names without the prefix, as a YAML list. */}}
{{- define "common.databaseServices" -}}
{{- $clients := list "cp" "cg" "skills" "env-runner-k8s" "scheduler" }}
{{- if .Values.global.modules.sandbox.enabled }}
{{- $clients = append $clients "sandbox" }}
{{- end }}
{{- if .Values.global.modules.browser.enabled }}
{{- $clients = append $clients "browser" }}
{{- end }}
{{- $clients | toYaml }}
{{- end }}

{{/* The same with the Jobs that use it. */}}
{{- define "common.databaseClients" -}}
{{- concat (include "common.databaseServices" . | fromYamlArray) (list "prepare" "rollback" "migrate" "bootstrap" "seed" "test" "backup") | toYaml }}
{{- end }}

{{/* Label of all pods that mount the AFS controller's volume. */}}
{{- define "common.afsVolumeLabel" -}}
neutree.ai/volume: afs-controller-db
{{- end }}

{{/* Name of all migrations of a release together: a hash of the images they come from. */}}
{{- define "common.migrationSet" -}}
{{- $images := list }}
{{- range include "common.migrationSources" . | fromYamlArray }}
{{- $images = append $images .image }}
{{- end }}
{{- $images | sortAlpha | join "\n" | sha256sum }}
{{- end }}
