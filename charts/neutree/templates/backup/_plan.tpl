{{/*
Backups: a claim and Jobs that are no part of the release. The hook before an upgrade runs them, and the plugin, from
what is said here.
*/}}

{{/* Name without the prefix, for the label that network policies go by. */}}
{{- define "neutree.backup.app" -}}
{{ include "common.name" (list . "backup") }}
{{- end }}

{{/*
ConfigMap that is there while a restore has not ended. The plugin calls it after the Job that restores. Backups may have
been turned off since.
*/}}
{{- define "neutree.restoreNote" -}}
{{ include "common.name" (list . "restore") }}
{{- end }}

{{/* Not empty when an upgrade that migrates makes a backup first. */}}
{{- define "neutree.backup.beforeUpgrade" -}}
{{- if and .Values.global.backup.enabled (not .Values.global.backup.skip) }}yes{{ end }}
{{- end }}

{{/* What the Jobs find at /spec/backup.yaml. */}}
{{- define "neutree.backup.spec" -}}
{{- $backup := .Values.global.backup -}}
dir: /backups/neutree
claim: {{ include "common.name" (list . "backups") }}
size: {{ $backup.size }}
retention: {{ $backup.retention }}
afs: /afs/controller.db
release: {{ .Release.Name }}
namespace: {{ .Release.Namespace }}
revision: {{ .Release.Revision }}
chart: {{ .Chart.Version }}
restoreNote: {{ include "neutree.restoreNote" . }}
images:
  {{- range $name, $image := .Values.global.images }}
  {{ $name }}: {{ include "common.imageRef" (list $ $image) }}
  {{- end }}
encryptionKey: {secret: {{ include "common.keysSecret" . | quote }}, key: CREDENTIAL_ENCRYPTION_KEY}
{{- with include "neutree.copies.spec" . }}{{ nindent 0 . }}{{ end }}
set: {{ include "common.migrationSet" . }}
{{ include "neutree.migrations" . }}
{{- end }}

{{/* Deployments of the services that write to the databases, as a YAML list. */}}
{{- define "neutree.writers" -}}
- afs-controller
{{- range include "common.databaseServices" . | fromYamlArray }}
- {{ include "common.name" (list $ .) }}
{{- end }}
{{- end }}

{{/* Right to stop and start them around an upgrade of the data. */}}
{{- define "neutree.scaleRules" }}
# Services are stopped while the data is upgraded to another major version of PostgreSQL, and started after it.
- apiGroups: [apps]
  resources: [deployments/scale]
  resourceNames: {{ include "neutree.writers" . | fromYamlArray | toJson }}
  verbs: [patch]
{{- end }}

{{/* What to run. Usage: include "neutree.backup.plan" (list $ <ConfigMap with the spec above> <ServiceAccount>) */}}
{{- define "neutree.backup.plan" -}}
{{- $root := index . 0 -}}
{{- $global := $root.Values.global -}}
release: {{ $root.Release.Name }}
revision: {{ $root.Release.Revision }}
claim:
  {{- include "neutree.backup.claim" $root | nindent 2 }}
create:
  {{- include "neutree.backup.job" (dict "root" $root "configMap" (index . 1) "serviceAccount" (index . 2) "job" "backup" "env" (printf "%s\n%s" (include "common.databaseEnv" $root) (include "neutree.copies.env" $root) | trim) "initContainers" (include "common.installHooks" $root) "mounts" (include "neutree.copies.mounts" $root) "volumes" (include "neutree.copies.volumes" $root)) | nindent 2 }}
restore:
  {{- include "neutree.backup.job" (dict "root" $root "configMap" (index . 1) "serviceAccount" (index . 2) "job" "restore" "env" (include "neutree.bootstrap.env" $root) "initContainers" (include "neutree.bootstrap.initContainers" $root)) | nindent 2 }}
{{- if not (include "common.externalDatabase" $root) }}
{{- if not $global.backup.image.repository }}
cluster: {{ include "common.name" (list $root "pg") }}
{{- end }}
{{- if $global.backup.volumeSnapshotClass }}
snapshot:
  apiVersion: postgresql.cnpg.io/v1
  kind: Backup
  metadata:
    # The name of the backup comes after it.
    name: {{ include "common.name" (list $root "pg") }}-
    labels:
      {{- include "common.createdLabels" (list $root "backup") | nindent 6 }}
      app.kubernetes.io/instance: {{ $root.Release.Name }}
    annotations:
      {{- include "neutree.backup.annotations" . | nindent 6 }}
  spec:
    method: volumeSnapshot
    cluster:
      name: {{ include "common.name" (list $root "pg") }}
{{- end }}
{{- end }}
writers:
  {{- include "neutree.writers" $root | nindent 2 }}
workspaces: {{ include "common.workspaceNamespace" $root | quote }}
{{- end }}

{{/* ArgoCD takes for the Application's what has its label, where it tracks objects by labels: it must not prune these. */}}
{{- define "neutree.backup.annotations" -}}
argocd.argoproj.io/sync-options: Prune=false,Delete=false
argocd.argoproj.io/compare-options: IgnoreExtraneous
{{- end }}

{{/* It outlives the release, like everything that holds data. */}}
{{- define "neutree.backup.claim" -}}
{{- $backup := .Values.global.backup -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "common.name" (list . "backups") }}
  labels:
    {{- include "common.createdLabels" (list . "backup") | nindent 4 }}
    app.kubernetes.io/instance: {{ .Release.Name }}
  annotations:
    {{- include "neutree.backup.annotations" . | nindent 4 }}
spec:
  accessModes: [{{ $backup.accessMode }}]
  {{- with $backup.storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $backup.size }}
{{- end }}

{{/*
A Job that has both databases at hand. It asks nothing of Kubernetes: its ServiceAccount has no rights, its pod no
token. Takes a dict:
  root                       $
  job                        its name without the prefix
  configMap, serviceAccount  of the phase that runs it
  env, initContainers        YAML lists
  args, tryAgain             as in "common.jobSpec", optional
  mounts, volumes            YAML lists in addition to the two volumes, optional
*/}}
{{- define "neutree.backup.job" -}}
{{- $global := .root.Values.global -}}
{{- $name := include "neutree.backup.app" .root -}}
{{- $image := empty $global.backup.image.repository | ternary $global.images.postgresql $global.backup.image -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "common.name" (list .root .job) }}
  labels:
    {{- include "common.createdLabels" (list .root "backup") | nindent 4 }}
    app.kubernetes.io/instance: {{ .root.Release.Name }}
  annotations:
    {{- include "neutree.backup.annotations" .root | nindent 4 }}
spec:
  {{- include "common.jobSpec" (dict "root" .root "name" $name "component" "backup"
    "configMap" .configMap "serviceAccount" .serviceAccount
    "command" "backup" "args" .args "tryAgain" .tryAgain "timeout" $global.hooks.timeouts.backup
    "startSeconds" (add $global.hooks.timeouts.start 600)
    "env" .env
    "image" (include "common.imageRef" (list .root $image))
    "initContainers" .initContainers
    "resources" $global.backup.resources
    "labels" (include "common.afsVolumeLabel" .root | fromYaml)
    "user" .root.Values.workspaceRuntime.afsController.runAsUser
    "placement" (dict "tolerations" $global.backup.tolerations "priorityClassName" "" "affinity" (include "neutree.backup.affinity" .root | fromYaml))
    "volumeMounts" (printf "%s\n%s" (include "neutree.backup.mounts" .root) (.mounts | default "") | trim)
    "volumes" (printf "%s\n%s" (include "neutree.backup.volumes" .root) (.volumes | default "") | trim)) | nindent 2 }}
{{- end }}

{{/*
A volume for one node is mounted by several pods of that node only. So all that mount AFS's run where another one does;
Kubernetes lets the first of them choose.
*/}}
{{- define "neutree.backup.affinity" -}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels:
          {{- include "common.afsVolumeLabel" . | nindent 10 }}
{{- end }}

{{- define "neutree.backup.mounts" -}}
- name: backups
  mountPath: /backups
- name: afs
  mountPath: /afs
{{- end }}

{{- define "neutree.backup.volumes" -}}
- name: backups
  persistentVolumeClaim:
    claimName: {{ include "common.name" (list . "backups") }}
- name: afs
  persistentVolumeClaim:
    claimName: {{ include "common.afsControllerClaim" . | quote }}
{{- end }}

{{/*
Files for the hook before an upgrade, in its ConfigMap.
Usage: include "neutree.backup.hookFiles" (list $ <ConfigMap> <ServiceAccount>)
*/}}
{{- define "neutree.backup.hookFiles" -}}
{{- if include "neutree.backup.beforeUpgrade" (index . 0) }}
backup.yaml: |
  {{- include "neutree.backup.spec" (index . 0) | nindent 2 }}
backup-plan.yaml: |
  {{- include "neutree.backup.plan" . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
What a hook must be allowed to make a backup; it may make Jobs, list pods and read the Cluster anyway.
Usage: include "neutree.backup.hookRules" (list $ <name of the Job without the prefix>)
*/}}
{{- define "neutree.backup.hookRules" -}}
{{- with index . 0 -}}
{{- if include "neutree.backup.beforeUpgrade" . }}
- apiGroups: [batch]
  resources: [jobs]
  resourceNames: [{{ include "common.name" (list . (index $ 1)) }}]
  verbs: [get, delete]
{{ include "neutree.backup.claimRules" . }}
{{- if .Values.global.backup.volumeSnapshotClass }}
- apiGroups: [postgresql.cnpg.io]
  resources: [backups]
  verbs: [create, get]
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Rights to create the PVC of backups, and to let it grow. */}}
{{- define "neutree.backup.claimRules" -}}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: [{{ include "common.name" (list . "backups") }}]
  verbs: [get, patch]
{{- end }}
