{{/*
The volume that all workspaces share. Bootstrap applies it: as a part of the release it would never be bound during
an install, since no pod of the release mounts it. Without a class here bootstrap finds one.
*/}}
{{- define "neutree.sharedClaim" -}}
{{- $storage := .Values.global.storage.shared -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ include "common.sharedClaim" . }}
  namespace: {{ include "common.workspaceNamespace" . }}
  labels:
    {{- include "common.createdLabels" (list . "workspaces") | nindent 4 }}
spec:
  accessModes: [{{ $storage.accessMode }}]
  {{- $source := include "common.sharedSource" . }}
  {{- if has $source (list "nfs" "node") }}
  # No class makes volumes for it: it takes the one that the release made.
  storageClassName: ""
  volumeName: {{ include "common.clusterName" (list . "shared") }}
  {{- else if eq $source "nfsClass" }}
  storageClassName: {{ include "common.clusterName" (list . "nfs") }}
  {{- else if $storage.storageClass }}
  storageClassName: {{ $storage.storageClass | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ include "neutree.sharedSize" . }}
{{- end }}

{{/*
Size of a new volume. The size of an export or of a folder is a number that nothing enforces, and such a volume is part
of the release: without a value it stays what it was in 0.1.0.
*/}}
{{- define "neutree.sharedSize" -}}
{{- $storage := .Values.global.storage.shared -}}
{{- $made := has (include "common.sharedSource" .) (list "class" "nfsClass") -}}
{{- $several := and $made (eq $storage.accessMode "ReadWriteMany") -}}
{{ $storage.size | default ($several | ternary "500Gi" "50Gi") }}
{{- end }}
