{{/*
Name of an object of the platform: the prefix and a suffix. Never made from .Chart.Name, which an alias changes.
Usage: include "common.name" (list $ "cp")
*/}}
{{- define "common.name" -}}
{{- $root := index . 0 -}}
{{ $root.Values.global.namePrefix }}-{{ index . 1 }}
{{- end }}

{{/*
Name of a cluster-scoped object: it carries the namespace, so that two installations never share one.
Usage: include "common.clusterName" (list $ "cp")
*/}}
{{- define "common.clusterName" -}}
{{- $root := index . 0 -}}
{{ $root.Release.Namespace }}-{{ include "common.name" . }}
{{- end }}

{{/* Namespace that workspaces run in. */}}
{{- define "common.workspaceNamespace" -}}
{{ .Values.global.workspaces.namespace | default (printf "%s-workspaces" .Release.Namespace) }}
{{- end }}

{{/* Secret with the keys that the services share. */}}
{{- define "common.keysSecret" -}}
{{ .Values.global.secrets.existingSecret | default (include "common.name" (list . "cp-secret")) }}
{{- end }}

{{/* Secret of the sandbox service; the browser service calls it with one of its keys. */}}
{{- define "common.sandboxSecret" -}}
{{ .Values.global.secrets.sandbox.existingSecret | default (include "common.name" (list . "sandbox-secret")) }}
{{- end }}

{{/* Secret of the browser service; the relay shares one of its keys. */}}
{{- define "common.browserSecret" -}}
{{ .Values.global.secrets.browser.existingSecret | default (include "common.name" (list . "browser-secret")) }}
{{- end }}

{{/* Secret with the token by which a hook has the control plane rebuild workspaces. */}}
{{- define "common.pluginAdminSecret" -}}
{{ include "common.name" (list . "plugin-admin") }}
{{- end }}

{{/* Secret with the first administrator's name and password. */}}
{{- define "common.adminSecret" -}}
{{ .Values.global.admin.existingSecret | default (include "common.name" (list . "admin")) }}
{{- end }}

{{/* Claim, in the workspaces' namespace, of the volume that all workspaces share. */}}
{{- define "common.sharedClaim" -}}
{{ .Values.global.storage.shared.existingClaim | default "afs-shared-storage" }}
{{- end }}

{{/* Claim of the AFS controller's database. */}}
{{- define "common.afsControllerClaim" -}}
{{ .Values.global.storage.afsController.existingClaim | default "afs-controller-db" }}
{{- end }}

{{/* Where the shared volume comes from: claim, nfs, nfsClass, node or class. */}}
{{- define "common.sharedSource" -}}
{{- $shared := .Values.global.storage.shared -}}
{{- if $shared.existingClaim -}}claim
{{- else if $shared.nfs.server -}}{{ $shared.nfs.csi | ternary "nfsClass" "nfs" }}
{{- else if $shared.nodeLocal.enabled -}}node
{{- else -}}class
{{- end }}
{{- end }}

{{/* ConfigMap in which bootstrap keeps the storage classes it resolved. */}}
{{- define "common.storageConfigMap" -}}
{{ include "common.name" (list . "storage") }}
{{- end }}

{{/*
Key in it for the class of the workspaces' volumes. What was chosen once stays, so a class for volumes that several
nodes mount is kept apart.
*/}}
{{- define "common.workspaceClassKey" -}}
{{ .Values.global.workspaces.multiReplica | ternary "workspaces-shared" "workspaces" }}
{{- end }}
