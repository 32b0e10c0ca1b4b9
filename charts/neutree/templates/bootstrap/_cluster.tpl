{{/*
The database. Bootstrap applies it: its kind does not exist yet when the release that brings the operator is built.
*/}}
{{- define "neutree.cluster" -}}
{{- if .Values.global.database.cnpg.extraSpec }}
{{- include "neutree.extraSpec.merged" . }}
{{- else }}
{{- include "neutree.cluster.own" . }}
{{- end }}
{{- end }}

{{/* What the chart says of it. */}}
{{- define "neutree.cluster.own" -}}
{{- $global := .Values.global -}}
{{- $cnpg := $global.database.cnpg -}}
{{- $several := gt (int $cnpg.instances) 1 -}}
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata:
  name: {{ include "common.name" (list . "pg") }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "common.createdLabels" (list . "database") | nindent 4 }}
  annotations:
    # An uninstall stops the database; an install starts it again.
    cnpg.io/hibernation: "off"
    {{- $refuses := and (eq $cnpg.sslmode "verify-full") (ne $cnpg.requireTLS "never") }}
    {{- if and $refuses (eq $cnpg.requireTLS "auto") }}
    # A Cluster that is there keeps its own way.
    neutree.ai/require-tls: auto
    {{- end }}
spec:
  instances: {{ $cnpg.instances }}
  imageName: {{ include "common.image" (list . "postgresql") }}
  {{- with $cnpg.priorityClassName | default $global.scheduling.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- $labels := merge (dict) $cnpg.podLabels $global.commonLabels }}
  {{- $annotations := $cnpg.podAnnotations }}
  {{- if $global.mesh }}
  {{- /* Jobs of the operator would never end, and hooks and the operator connect without a proxy. */}}
  {{- $labels = merge $labels (include "common.noProxyLabels" . | fromYaml) }}
  {{- $annotations = merge (dict) $annotations (include "common.noProxyAnnotations" . | fromYaml) }}
  {{- end }}
  {{- if $global.backup.velero }}
  {{- /* Copies of the files of a server that is running are no backup. */}}
  {{- $annotations = merge (dict) $annotations (dict "backup.velero.io/backup-volumes-excludes" "pgdata,pg-wal") }}
  {{- end }}
  {{- if or $labels $annotations }}
  # Of everything that the operator makes for it.
  inheritedMetadata:
    labels:
      {{- toYaml $labels | nindent 6 }}
    annotations:
      {{- toYaml $annotations | nindent 6 }}
  {{- end }}
  {{- with include "common.imagePullPolicy" . }}{{ nindent 2 . }}{{ end }}
  {{- with include "common.imagePullSecrets" . }}{{ nindent 2 . }}{{ end }}
  primaryUpdateMethod: {{ $several | ternary "switchover" "restart" }}
  # With one instance a disruption budget would only keep its node from being drained.
  enablePDB: {{ $several }}
  bootstrap:
    initdb:
      database: {{ $global.database.name | quote }}
      owner: {{ $global.database.user | quote }}
      secret:
        name: {{ include "common.name" (list . "pg-user") }}
  storage:
    size: {{ $cnpg.storage.size }}
    {{- with $cnpg.storage.storageClass }}
    storageClass: {{ . | quote }}
    {{- end }}
  postgresql:
    parameters:
      {{- include "neutree.cluster.parameters" . | nindent 6 }}
    {{- if $refuses }}
    pg_hba:
      - hostnossl all all all reject
    {{- end }}
    {{- if $several }}
    # A commit is on two nodes. With two instances only as long as both run, or the loss of one would stop all writes.
    synchronous:
      method: any
      number: 1
      dataDurability: {{ gt (int $cnpg.instances) 2 | ternary "required" "preferred" }}
    {{- end }}
  {{- with $global.backup.volumeSnapshotClass }}
  backup:
    volumeSnapshot:
      className: {{ . | quote }}
  {{- end }}
  resources:
    {{- include "common.resources" $cnpg.resources | nindent 4 }}
  # A shutdown that waits for clients admits no new client, and the services keep their connections. By default it waits
  # for three minutes.
  smartShutdownTimeout: 5
  # By default a start is noticed up to ten seconds late. As before, a server counts as lost after thirty.
  probes:
    startup:
      periodSeconds: 2
    readiness:
      periodSeconds: 2
      failureThreshold: 15
  {{- with $cnpg.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    enablePodAntiAffinity: true
    podAntiAffinityType: preferred
    topologyKey: kubernetes.io/hostname
    {{- with $cnpg.nodeSelector | default $global.scheduling.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $cnpg.tolerations | default $global.scheduling.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}

{{/*
Settings of PostgreSQL. Data and write-ahead log share one volume, so the log gets a share of it: a tenth before a
checkpoint is forced, a twentieth kept for standbys, at most a fifth held back for one that is away.
*/}}
{{- define "neutree.cluster.parameters" -}}
{{- $cnpg := .Values.global.database.cnpg -}}
{{- $size := include "common.mebibytes" $cnpg.storage.size | int64 -}}
{{- dict
  "max_connections" (toString $cnpg.maxConnections)
  "max_wal_size" (printf "%sMB" (include "common.clamp" (list (div $size 10) 128 8192)))
  "wal_keep_size" (printf "%sMB" (include "common.clamp" (list (div $size 20) 64 512)))
  "max_slot_wal_keep_size" (printf "%sMB" (include "common.clamp" (list (div $size 5) 192 16384)))
  | merge (deepCopy $cnpg.parameters) | toYaml }}
{{- end }}
