{{/* Not empty when pods of the release run the hook image already, so that it can be pulled. */}}
{{- define "neutree.hooksImageRuns" -}}
{{- $image := include "common.hooksImage" . -}}
{{- $cp := lookup "apps/v1" "Deployment" .Release.Namespace (include "common.name" (list . "cp")) | default dict -}}
{{- range dig "spec" "template" "spec" "initContainers" list $cp -}}
{{- if eq .image $image }}yes{{ end -}}
{{- end -}}
{{- end }}

{{/* Seconds that the work before a rollout may take: all its steps, and the start of the Jobs that it runs. */}}
{{- define "neutree.prepare.timeout" -}}
{{- $timeouts := .Values.global.hooks.timeouts -}}
{{- $backup := include "neutree.backup.beforeUpgrade" . | empty | ternary 0 $timeouts.backup -}}
{{- $major := .Values.global.upgrade.allowMajorUpgrade | default false | ternary 1800 0 -}}
{{- /* A minute for the database to answer, five for its new values, ten for images of Jobs. */ -}}
{{ add $timeouts.guard $timeouts.secrets $timeouts.pull $timeouts.migrate $timeouts.start 960 $backup $major }}
{{- end }}

{{/* What has to be so before any object of this revision is applied. */}}
{{- define "neutree.prepare.spec" -}}
{{- $global := .Values.global -}}
namespace: {{ .Release.Namespace }}
guard:
  {{- include "neutree.guard.spec" . | nindent 2 }}
gate:
  {{- include "neutree.gate.spec" . | nindent 2 }}
secrets:
  {{- include "neutree.secrets.spec" . | nindent 2 }}
pull:
  job: /spec/pull-job.yaml
  seconds: {{ $global.hooks.timeouts.pull }}
  workloads:
    {{- include "neutree.pull.workloads" . | nindent 4 }}
  {{- if not (include "common.externalDatabase" .) }}
  cluster:
    name: {{ include "common.name" (list . "pg") }}
    image: {{ include "common.image" (list . "postgresql") }}
  {{- end }}
migrate:
  {{- include "neutree.prepare.database" . | nindent 2 }}
  failedJob: {{ include "neutree.bootstrap.name" . }}
  job: /spec/migrate-job.yaml
  {{- if include "neutree.backup.beforeUpgrade" . }}
  backup: /spec/backup-plan.yaml
  {{- end }}
{{- end }}

{{/* Which database it is, where its address stands, and what services of this revision wait for in it. */}}
{{- define "neutree.prepare.database" -}}
{{- if include "common.externalDatabase" . -}}
external: {connections: {{ include "common.connections" . }}}
{{- else -}}
cluster: {{ include "common.name" (list . "pg") }}
{{- end }}
url: {secret: {{ include "common.databaseSecret" . }}, key: url}
sets:
  {{- range include "common.migrationSources" . | fromYamlArray }}
  - {source: {{ .source }}, dir: "", set: {{ .set }}}
  {{- end }}
{{- end }}

{{/*
The Job that migrates. Prepare runs it only where the database is there and has not seen these images. It asks nothing of
Kubernetes: the namespace's default account does, without its token, and an account of its own would cost each upgrade time.
*/}}
{{- define "neutree.migrate.job" -}}
{{- $app := dict "root" $ "name" (include "common.name" (list $ "migrate")) "component" "migrate" -}}
{{- $timeouts := .Values.global.hooks.timeouts -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $app.name }}
  labels:
    {{- include "common.labels" $app | nindent 4 }}
spec:
  # One that failed stays for its log, for a day.
  ttlSecondsAfterFinished: 86400
  {{- include "common.jobSpec" (dict "root" . "name" $app.name "component" $app.component
    "configMap" (include "neutree.prepare.phase" .)
    "serviceAccount" "default" "automount" false
    "command" "migrate" "timeout" $timeouts.migrate
    "startSeconds" (add $timeouts.start 600)
    "env" (include "neutree.bootstrap.env" .)
    "initContainers" (include "neutree.bootstrap.initContainers" .)) | nindent 2 }}
{{- end }}

{{- define "neutree.migrate.spec" -}}
set: {{ include "common.migrationSet" . }}
refuseAhead: {{ not .Values.global.upgrade.allowOlderImages }}
{{ include "neutree.migrations" . }}
{{- end }}
