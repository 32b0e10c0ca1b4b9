{{/* Deployment of the AFS controller. */}}
{{- define "workspaceRuntime.afsController.deployment" -}}
{{- $config := include "workspaceRuntime.afsController.config" . -}}
{{- $annotations := dict "checksum/config" (sha256sum $config) -}}
{{- if .Values.global.backup.velero -}}
{{- $_ := set $annotations "backup.velero.io/backup-volumes" "data" -}}
{{- end -}}
{{- include "common.deployment" (dict "root" . "service" "afs-controller" "values" .Values.afsController
  "podMetadata" (dict "labels" (include "common.afsVolumeLabel" . | fromYaml) "annotations" $annotations)
  "container" (dict "command" (list "afs-controller") "args" (list "/etc/afs/controller.toml"))
  "volumes" (list
    (dict "name" "config" "mountPath" "/etc/afs" "readOnly" true "configMap" (dict "name" "afs-controller-config"))
    (dict "name" "data" "mountPath" "/var/lib/afs" "persistentVolumeClaim" (dict "claimName" (include "common.afsControllerClaim" .))))) }}
{{- end }}
