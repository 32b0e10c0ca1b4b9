{{/* PVC of the AFS controller's database. */}}
{{- define "workspaceRuntime.afsController.claim" -}}
{{- $app := dict "root" $ "name" "afs-controller" "component" "afs-controller" -}}
{{- $storage := .Values.global.storage.afsController -}}
# Without this database no user finds their files in the shared volume, so it outlives the release.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: afs-controller-db
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "common.labels" $app | nindent 4 }}
  annotations:
    helm.sh/resource-policy: keep
    argocd.argoproj.io/sync-options: Prune=false,Delete=false
spec:
  accessModes: [{{ $storage.accessMode }}]
  {{- with $storage.storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $storage.size }}
{{- end }}
