{{/*
The volume that all workspaces share. Bootstrap applies it: as a part of the release it would never be bound during
an install, since no pod of the release mounts it. Without a class here bootstrap finds one.
*/}}
{{- define "neutree.sharedClaim" -}}
{{- $storage := .Values.global.storage.shared -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: afs-shared-storage
  namespace: {{ include "common.workspaceNamespace" . }}
  labels:
    app.kubernetes.io/part-of: neutree
    app.kubernetes.io/component: workspaces
spec:
  accessModes: [{{ $storage.accessMode }}]
  {{- with $storage.storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $storage.size }}
{{- end }}
