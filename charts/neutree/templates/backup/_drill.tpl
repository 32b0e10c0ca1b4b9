{{/*
What `helm neutree backup drill` runs: a throw-away Cluster next to the release's own, and the Job that restores a backup
into it. The plugin creates them with the rights of its user, and the Job owns the rest. Nothing of it has a label
by which a hook, a Service, a NetworkPolicy or a monitor finds a part of the release.
*/}}

{{/* Name of the Job and of the Cluster. */}}
{{- define "neutree.drill.name" -}}
{{ include "common.name" (list . "drill") }}
{{- end }}

{{/* ConfigMap that says how the last drill ended. */}}
{{- define "neutree.drill.record" -}}
{{ include "common.name" (list . "backup-drill") }}
{{- end }}

{{- define "neutree.drill.labels" -}}
{{ include "common.createdLabels" (list . "drill") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The part of the plan. An external database needs no operator, so there may be none. */}}
{{- define "neutree.drill.plan" -}}
{{- if not (include "common.externalDatabase" .) -}}
drill:
  live: {{ include "common.name" (list . "pg") }}
  record: {{ include "neutree.drill.record" . }}
  cluster:
    {{- include "neutree.drill.cluster" . | nindent 4 }}
  {{- if .Values.global.networkPolicies.enabled }}
  policy:
    {{- include "neutree.drill.policy" . | nindent 4 }}
  {{- end }}
  {{- $job := include "neutree.drill.job" . | fromYaml }}
  {{- /* The other pods' priority could take the place of theirs. */}}
  {{- $_ := unset $job.spec.template.spec "priorityClassName" }}
  job:
    {{- toYaml $job | nindent 4 }}
{{- end }}
{{- end }}

{{/* The plugin sets the image to that of the live Cluster, and the size of the volume by the backup. */}}
{{- define "neutree.drill.cluster" -}}
{{- $global := .Values.global -}}
{{- $cnpg := $global.database.cnpg -}}
{{- $drill := $global.backup.drill -}}
{{- $name := include "neutree.drill.name" . -}}
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata:
  name: {{ $name }}
  labels:
    {{- include "neutree.drill.labels" . | nindent 4 }}
  annotations:
    {{- include "neutree.backup.annotations" . | nindent 4 }}
spec:
  instances: 1
  imageName: {{ include "common.image" (list . "postgresql") }}
  {{- $labels := merge (dict) $global.commonLabels }}
  {{- $annotations := dict }}
  {{- if $global.mesh }}
  {{- $labels = merge $labels (include "common.noProxyLabels" . | fromYaml) }}
  {{- $annotations = include "common.noProxyAnnotations" . | fromYaml }}
  {{- end }}
  {{- if or $labels $annotations }}
  inheritedMetadata:
    labels:
      {{- toYaml $labels | nindent 6 }}
    annotations:
      {{- toYaml $annotations | nindent 6 }}
  {{- end }}
  {{- with include "common.imagePullPolicy" . }}{{ nindent 2 . }}{{ end }}
  {{- with include "common.imagePullSecrets" . }}{{ nindent 2 . }}{{ end }}
  enablePDB: false
  bootstrap:
    initdb:
      database: {{ $global.database.name | quote }}
      owner: {{ $global.database.user | quote }}
      secret:
        name: {{ $name }}-user
  storage:
    size: 2Gi
    {{- with $drill.storageClass | default $cnpg.storage.storageClass }}
    storageClass: {{ . | quote }}
    {{- end }}
  postgresql:
    parameters:
      max_wal_size: 512MB
      maintenance_work_mem: 128MB
      synchronous_commit: "off"
      # Statements can hold keys, and the context of an error rows.
      log_min_error_statement: panic
      log_error_verbosity: terse
    pg_hba:
      - hostnossl all all all reject
  resources:
    {{- include "common.resources" $drill.resources | nindent 4 }}
  # Nothing in it is worth waiting for.
  smartShutdownTimeout: 1
  stopDelay: 20
  probes:
    startup:
      periodSeconds: 2
    readiness:
      periodSeconds: 2
  affinity:
    enablePodAntiAffinity: false
    # Away from the live database, where there is another node.
    additionalPodAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                cnpg.io/cluster: {{ include "common.name" (list . "pg") }}
    {{- with $cnpg.nodeSelector | default $global.scheduling.nodeSelector }}
    nodeSelector:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $cnpg.tolerations | default $global.scheduling.tolerations }}
    tolerations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}

{{/* Only the Job and the operator reach the throw-away server. The live one does not admit the Job. */}}
{{- define "neutree.drill.policy" -}}
{{- $name := include "neutree.drill.name" . -}}
{{- $ports := (include "common.facts" . | fromJson).database -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ $name }}
  labels:
    {{- include "neutree.drill.labels" . | nindent 4 }}
  annotations:
    {{- include "neutree.backup.annotations" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      cnpg.io/cluster: {{ $name }}
  policyTypes: [Ingress]
  ingress:
    - from:
        {{- include "common.peers" (list . "drill") | nindent 8 }}
      ports:
        - port: {{ $ports.port }}
    - from:
        - podSelector:
            matchLabels:
              cnpg.io/cluster: {{ $name }}
        - podSelector:
            matchLabels:
              app.kubernetes.io/name: cloudnative-pg
          {{- with include "neutree.operator.peerNamespace" . }}
          namespaceSelector: {{ . }}
          {{- end }}
      ports:
        - port: {{ $ports.port }}
        - port: {{ $ports.status }}
{{- end }}

{{/*
The Job mounts the backups to read only, and not AFS's volume. It runs where that is mounted, as all Jobs do that mount the
backups: a volume for one node can't be on two.
*/}}
{{- define "neutree.drill.job" -}}
{{- $global := .Values.global -}}
{{- $name := include "neutree.drill.name" . -}}
{{- $app := include "neutree.backup.app" . -}}
{{- $image := empty $global.backup.image.repository | ternary $global.images.postgresql $global.backup.image -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  labels:
    {{- include "neutree.drill.labels" . | nindent 4 }}
  annotations:
    {{- include "neutree.backup.annotations" . | nindent 4 }}
spec:
  {{- include "common.jobSpec" (dict "root" . "name" $name "component" "drill"
    "configMap" $app "serviceAccount" $app
    "command" "backup" "timeout" $global.hooks.timeouts.backup
    "startSeconds" (add $global.hooks.timeouts.start 600) "retries" 0
    "env" (include "neutree.drill.env" .)
    "image" (include "common.imageRef" (list . $image))
    "initContainers" (include "neutree.bootstrap.initContainers" .)
    "resources" $global.backup.resources
    "user" .Values.workspaceRuntime.afsController.runAsUser
    "placement" (dict "tolerations" $global.backup.tolerations "priorityClassName" "" "affinity" (include "neutree.backup.affinity" . | fromYaml))
    "volumeMounts" (include "neutree.drill.mounts" .)
    "volumes" (include "neutree.drill.volumes" .)) | nindent 2 }}
{{- end }}

{{- define "neutree.drill.env" -}}
{{ include "common.secretEnv" (list "DATABASE_URL" (printf "%s-url" (include "neutree.drill.name" .)) "url") }}
{{ include "common.secretEnv" (list "CREDENTIAL_ENCRYPTION_KEY" (include "common.keysSecret" .) "CREDENTIAL_ENCRYPTION_KEY") }}
{{- end }}

{{- define "neutree.drill.mounts" -}}
- name: backups
  mountPath: /backups
  readOnly: true
- name: drill-ca
  mountPath: /etc/neutree/drill-ca
  readOnly: true
{{- end }}

{{- define "neutree.drill.volumes" -}}
- name: backups
  persistentVolumeClaim:
    claimName: {{ include "common.name" (list . "backups") }}
- name: drill-ca
  secret:
    secretName: {{ include "neutree.drill.name" . }}-ca
    items:
      - {key: ca.crt, path: ca.crt}
{{- end }}
