{{/* Name of what the Jobs of this phase share. */}}
{{- define "neutree.prepare.phase" -}}
{{ include "common.name" (list . "pre-install") }}
{{- end }}

{{/* Files for the Jobs of this phase. */}}
{{- define "neutree.prepare.data" -}}
guard.yaml: |
  {{- include "neutree.guard.spec" . | nindent 2 }}
prepare.yaml: |
  {{- include "neutree.prepare.spec" . | nindent 2 }}
pull-job.yaml: |
  {{- include "neutree.pull.job" . | nindent 2 }}
migrate-job.yaml: |
  {{- include "neutree.migrate.job" . | nindent 2 }}
{{- with include "neutree.backup.hookFiles" (list . (include "neutree.prepare.phase" .) (include "neutree.prepare.jobsAccount" .)) }}{{ nindent 0 (trim .) }}{{ end }}
migrate.yaml: |
  {{- include "neutree.migrate.spec" . | nindent 2 }}
seed-job.yaml: |
  {{- include "neutree.seed.job" . | nindent 2 }}
seed.yaml: |
  {{- include "neutree.seed.spec" . | nindent 2 }}
{{- if not (include "common.externalDatabase" .) }}
cluster.yaml: |
  {{- include "neutree.cluster" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Rights in the release's namespace. */}}
{{- define "neutree.prepare.rules" -}}
# For server-side dry-runs: does the port conflict, is the pod admitted?
- apiGroups: [""]
  resources: [services, pods]
  verbs: [create]
# What runs, and what an upgrade must not change.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames:
    - {{ include "neutree.installation" . }}
    - {{ include "neutree.restoreNote" . }}
    - {{ include "common.storageConfigMap" . }}
  verbs: [get]
{{- if not (include "common.externalDatabase" .) }}
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  resourceNames: [{{ include "common.name" (list . "pg") }}]
  # Its new values come before any service is replaced.
  verbs: [get, patch]
{{- end }}
{{- if and .Values.global.upgrade.allowMajorUpgrade (not (include "common.externalDatabase" .)) }}
{{- include "neutree.scaleRules" . }}
# Why that failed: the operator deletes the pod.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
# The Jobs that pull, migrate and seed, and one of an earlier attempt that failed.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create]
- apiGroups: [batch]
  resources: [jobs]
  resourceNames:
    - {{ include "common.name" (list . "pull") }}
    - {{ include "common.name" (list . "migrate") }}
    - {{ include "common.name" (list . "seed") }}
    - {{ include "neutree.bootstrap.name" . }}
  verbs: [get, delete]
{{- with include "neutree.backup.hookRules" (list . "backup") }}{{ nindent 0 (trim .) }}{{ end }}
# How those fare, on which nodes services run, and what keeps the database from answering.
- apiGroups: [""]
  resources: [pods, events, persistentvolumeclaims]
  verbs: [list]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: {{ include "neutree.guard.claims" (list . .Release.Namespace) }}
  verbs: [get]
# Backups are marked, so that no tool prunes them.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: [{{ include "common.name" (list . "backups") }}]
  verbs: [get, patch]
{{- with include "neutree.revision.rules" . }}
# Is the upgrade still wanted?
{{ . }}
{{- end }}
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ include "neutree.secrets.names" . | fromYamlArray | toJson }}
  verbs: [get]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ include "neutree.secrets.madeNames" . | fromYamlArray | toJson }}
  verbs: [update]
{{- include "neutree.freePortRules" . }}
{{- include "neutree.operator.rules" (list . .Release.Namespace) }}
{{- end }}

{{/* Rights in the cluster. */}}
{{- define "neutree.prepare.clusterRules" -}}
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get, list]
- apiGroups: [""]
  resources: [namespaces]
  # The UID of the last one identifies the cluster.
  resourceNames: {{ list .Release.Namespace (include "common.workspaceNamespace" .) "kube-system" | uniq | toJson }}
  verbs: [get]
{{- with include "neutree.gate.sharedVolume" . | fromYaml }}
# Where the files of all workspaces are.
- apiGroups: [""]
  resources: [persistentvolumes]
  resourceNames: [{{ .volume }}]
  verbs: [get]
{{- end }}
# To name the Service that holds a port already.
- apiGroups: [""]
  resources: [services]
  verbs: [list]
{{- if eq (include "common.sharedSource" .) "node" }}
# To see that a volume which is a folder of a node has one node.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list]
{{- end }}
{{- if include "neutree.operator.concerns" . }}
{{ include "neutree.operator.definitionRules" . }}
{{- end }}
{{- include "neutree.operator.clusterRules" . }}
{{- end }}

{{/*
Rights in the workspaces' namespace: does it admit workspaces, by a server-side dry-run, and can their shared volume
grow? Only where it exists before this release does.
*/}}
{{- define "neutree.prepare.workspaceRules" -}}
{{- if include "neutree.workspaceNamespaceExists" . }}
- apiGroups: [""]
  resources: [pods]
  verbs: [create]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: [{{ include "common.sharedClaim" . }}]
  verbs: [get]
{{- end }}
{{- end }}
