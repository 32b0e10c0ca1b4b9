{{/* Not empty when pods of the release run the hook image already, so that it can be pulled. */}}
{{- define "neutree.hooksImageRuns" -}}
{{- $image := include "common.hooksImage" . -}}
{{- $cp := lookup "apps/v1" "Deployment" .Release.Namespace (include "common.name" (list . "cp")) | default dict -}}
{{- range dig "spec" "template" "spec" "initContainers" list $cp -}}
{{- if eq .image $image }}yes{{ end -}}
{{- end -}}
{{- end }}

{{/*
Not empty for an install into a cluster that has nothing of the release: there is no database yet that could be saved or
migrated, so the Job before the main phase ends soon by itself. Bootstrap makes the ConfigMap, which outlives the release.
*/}}
{{- define "neutree.prepare.short" -}}
{{- if and .Release.IsInstall (not (include "common.externalDatabase" .)) (lookup "v1" "Namespace" "" "kube-system") -}}
{{- $cp := lookup "apps/v1" "Deployment" .Release.Namespace (include "common.name" (list . "cp")) -}}
{{- $bootstrapped := lookup "v1" "ConfigMap" .Release.Namespace (include "common.storageConfigMap" .) -}}
{{- /* One that was recovered by hand is there before the release. */ -}}
{{- $cluster := and (.Capabilities.APIVersions.Has "postgresql.cnpg.io/v1") (lookup "postgresql.cnpg.io/v1" "Cluster" .Release.Namespace (include "common.name" (list . "pg"))) -}}
{{- if not (or $cp $bootstrapped $cluster) }}yes{{ end -}}
{{- end -}}
{{- end }}

{{/* Seconds that the work before a rollout may take: all its steps, and the start of the Jobs that it runs. */}}
{{- define "neutree.prepare.timeout" -}}
{{- $timeouts := .Values.global.hooks.timeouts -}}
{{- if include "neutree.prepare.short" . -}}
{{ add $timeouts.guard $timeouts.secrets }}
{{- else -}}
{{- $backup := include "neutree.backup.beforeUpgrade" . | empty | ternary 0 $timeouts.backup -}}
{{- $major := .Values.global.upgrade.allowMajorUpgrade | default false | ternary 1800 0 -}}
{{- /* A minute for the database to answer, five for its new values, ten for images of Jobs. */ -}}
{{ add $timeouts.guard $timeouts.secrets $timeouts.pull $timeouts.migrate $timeouts.seed $timeouts.start 960 $backup $major }}
{{- end -}}
{{- end }}

{{/*
The revision, NAMESPACE/RELEASE/NUMBER, whose record of Helm's says whether an upgrade is still wanted. Empty for the
first: there is nothing to roll back to, an uninstall stops what it runs, and every sync of ArgoCD has that number.
*/}}
{{- define "neutree.revision" -}}
{{- if gt (int .Release.Revision) 1 -}}
{{ .Release.Namespace }}/{{ .Release.Name }}/{{ .Release.Revision }}
{{- end }}
{{- end }}

{{/* Right to read that record, and whether another follows. */}}
{{- define "neutree.revision.rules" -}}
{{- if include "neutree.revision" . -}}
- apiGroups: [""]
  resources: [secrets]
  resourceNames:
    - {{ printf "sh.helm.release.v1.%s.v%d" .Release.Name (int .Release.Revision) }}
    - {{ printf "sh.helm.release.v1.%s.v%d" .Release.Name (add1 (int .Release.Revision)) }}
  verbs: [get]
{{- end }}
{{- end }}

{{/* Names of the Jobs that prepare runs, and stops where an earlier upgrade has left them running, as a YAML list. */}}
{{- define "neutree.prepare.jobs" -}}
- {{ include "common.name" (list . "pull") }}
- {{ include "common.name" (list . "migrate") }}
- {{ include "common.name" (list . "seed") }}
{{- if include "neutree.backup.beforeUpgrade" . }}
- {{ include "common.name" (list . "backup") }}
{{- end }}
{{- end }}

{{/* What has to be so before any object of this revision is applied. */}}
{{- define "neutree.prepare.spec" -}}
{{- $global := .Values.global -}}
namespace: {{ .Release.Namespace }}
{{- with include "neutree.revision" . }}
revision: {{ . | quote }}
stop: {{ include "neutree.prepare.jobs" $ | fromYamlArray | toJson }}
{{- end }}
guard:
  {{- include "neutree.guard.spec" . | nindent 2 }}
gate:
  {{- include "neutree.gate.spec" . | nindent 2 }}
{{- if include "neutree.operator.concerns" . }}
operator:
  {{- include "neutree.operator.spec" . | nindent 2 }}
  allowChange: {{ $global.upgrade.allowOperatorChange }}
{{- end }}
{{ include "neutree.secrets.andReaders" . }}
workloads:
  manifests: /workloads/workloads.yaml
  # What the pod of this hook has of a quota is free again when Helm applies them.
  hookResources:
    {{- include "common.resources" $global.hooks.resources | nindent 4 }}
  # Those of the pods do not all exist yet, and policies refuse pods of the ServiceAccount default.
  account: {{ include "neutree.prepare.jobsAccount" . }}
  allowRefused: {{ $global.upgrade.allowRefusedWorkloads | default false }}
  {{- if contains "PriorityClass" (toYaml .Values.extraObjects) }}
  bringsPriorityClasses: true
  {{- end }}
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
backupClaim: {{ include "common.name" (list . "backups") }}
{{- if include "neutree.backup.scheduled" . }}
{{- with $global.backup.timeZone }}
timeZone: {{ . | quote }}
{{- end }}
{{- end }}
seed:
  job: /spec/seed-job.yaml
  spec: /spec/seed.yaml
{{- with include "neutree.freePortOf" . }}
freePortOf: {{ . }}
{{- end }}
{{- end }}

{{/*
Service whose node port the control plane's own Service has in this revision. Helm would give it that one before it
deletes the other.
*/}}
{{- define "neutree.freePortOf" -}}
{{- if and (include "common.hasFront" .) (not (include "common.frontHolds" .)) }}
{{- include "common.frontService" . }}
{{- end }}
{{- end }}

{{/* Rights to delete it. */}}
{{- define "neutree.freePortRules" -}}
{{- with include "neutree.freePortOf" . }}
# It may have the node port that another Service gets.
- apiGroups: [""]
  resources: [services]
  resourceNames: [{{ . }}]
  verbs: [get, delete]
{{- end }}
{{- end }}

{{/* Which database it is, where its address stands, and what services of this revision wait for in it. */}}
{{- define "neutree.prepare.database" -}}
{{- if include "common.externalDatabase" . -}}
external: {connections: {{ include "common.connections" . }}}
{{- else -}}
cluster: {{ include "common.name" (list . "pg") }}
{{- end }}
url: {secret: {{ include "common.databaseSecret" . }}, key: {{ include "common.databaseKey" . }}}
sets:
  {{- range include "common.migrationSources" . | fromYamlArray }}
  - {source: {{ .source }}, dir: "", set: {{ .set }}}
  {{- end }}
{{- end }}

{{/*
ServiceAccount of the Jobs that prepare runs and that ask nothing of Kubernetes: it has no rights. It belongs to the
phase, since the ServiceAccounts of the release do not exist before its first install, nor before an upgrade from 0.1.0.
*/}}
{{- define "neutree.prepare.jobsAccount" -}}
{{ include "common.name" (list . "prepare-jobs") }}
{{- end }}

{{/* ServiceAccounts of the Jobs that prepare runs, with their rights, as a YAML list. */}}
{{- define "neutree.prepare.accounts" -}}
{{- $app := dict "root" . "name" (include "neutree.prepare.jobsAccount" .) "component" "prepare-jobs" -}}
{{- concat (list (include "common.serviceAccount" $app | fromYaml)) (include "neutree.migrate.account" . | fromYamlArray) | toYaml }}
{{- end }}

{{/* What the Job that migrates runs as: all that it may do is read whether its upgrade is still wanted. */}}
{{- define "neutree.migrate.account" -}}
{{- $app := dict "root" . "name" (include "common.name" (list . "migrate")) "component" "migrate" -}}
{{- $rules := include "neutree.revision.rules" . -}}
{{- $role := dict "app" $app "name" $app.name "namespace" .Release.Namespace "rules" $rules -}}
{{- $objects := list (include "common.serviceAccount" $app | fromYaml) -}}
{{- if $rules }}
{{- $objects = append $objects (include "common.role" $role | fromYaml) }}
{{- $objects = append $objects (include "common.roleBinding" $role | fromYaml) }}
{{- end }}
{{- $objects | toYaml }}
{{- end }}

{{/*
The Job that migrates. Prepare runs it only where the database is there and has not seen these images. It commits
nothing once its upgrade was given up, whatever has become of prepare by then.
*/}}
{{- define "neutree.migrate.job" -}}
{{- $app := dict "root" $ "name" (include "common.name" (list $ "migrate")) "component" "migrate" -}}
{{- $timeouts := .Values.global.hooks.timeouts -}}
{{- $revision := include "neutree.revision" . -}}
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
    "serviceAccount" $app.name "automount" (not (empty $revision))
    "args" (empty $revision | ternary list (list (print "--while-pending=" $revision)))
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
