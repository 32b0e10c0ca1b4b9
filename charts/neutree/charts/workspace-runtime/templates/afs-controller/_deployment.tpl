{{/* Deployment of the AFS controller. */}}
{{- define "workspaceRuntime.afsController.deployment" -}}
{{- $config := include "workspaceRuntime.afsController.config" . -}}
{{- include "common.deployment" (dict "root" . "service" "afs-controller" "values" .Values.afsController
  "podMetadata" (dict "labels" (include "common.afsVolumeLabel" . | fromYaml) "annotations" (dict "checksum/config" (sha256sum $config)))
  "container" (dict "command" (list "afs-controller") "args" (list "/etc/afs/controller.toml"))
  "volumes" (list
    (dict "name" "config" "mountPath" "/etc/afs" "readOnly" true "configMap" (dict "name" "afs-controller-config"))
    (dict "name" "data" "mountPath" "/var/lib/afs" "persistentVolumeClaim" (dict "claimName" (include "common.afsControllerClaim" .))))) }}
{{- end }}
