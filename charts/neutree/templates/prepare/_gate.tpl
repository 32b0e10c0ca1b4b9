{{/* ConfigMap that says what the release is installed with. Its name must not hang on what it tells. */}}
{{- define "neutree.installation" -}}
neutree-installation
{{- end }}

{{/*
The values that the data of a release hangs on. Each has the key that the ConfigMap above keeps it under, and the name of
its setting.
*/}}
{{- define "neutree.fixedValues" -}}
{{- $global := .Values.global -}}
- {key: namePrefix, setting: global.namePrefix, value: {{ $global.namePrefix | quote }}}
- {key: workspaceNamespace, setting: global.workspaces.namespace, value: {{ include "common.workspaceNamespace" . | quote }}}
- {key: databaseMode, setting: global.database.mode, value: {{ $global.database.mode | quote }}}
- {key: databaseName, setting: global.database.name, value: {{ $global.database.name | quote }}}
- {key: databaseUser, setting: global.database.user, value: {{ $global.database.user | quote }}}
- {key: sharedClaim, setting: global.storage.shared.existingClaim, value: {{ include "common.sharedClaim" . | trim | quote }}}
- {key: afsControllerClaim, setting: global.storage.afsController.existingClaim, value: {{ include "common.afsControllerClaim" . | trim | quote }}}
- {key: keysSecret, setting: global.secrets.existingSecret, value: {{ include "common.keysSecret" . | quote }}, secret: true}
{{- end }}

{{/* What an upgrade must not change, and what somebody has decided to change all the same. */}}
{{- define "neutree.gate.spec" -}}
{{- $global := .Values.global -}}
configMap: {{ include "neutree.installation" . }}
release: {{ .Release.Name }}
restoreNote: {{ include "neutree.restoreNote" . }}
fixed:
  {{- include "neutree.fixedValues" . | nindent 2 }}
encryptionKey: {secret: {{ include "common.keysSecret" . | quote }}, key: CREDENTIAL_ENCRYPTION_KEY}
{{- if not (include "common.externalDatabase" .) }}
manifest: /spec/cluster.yaml
{{- $image := $global.images.postgresql }}
{{- if eq (printf "%s:%s" $image.repository $image.tag) (include "common.facts" . | fromJson).database.image }}
defaultImage: true
{{- end }}
{{- end }}
{{- with include "neutree.gate.sharedVolume" . }}
sharedVolume:
  {{- . | nindent 2 }}
{{- end }}
{{ include "neutree.gate.allow" . }}
{{- end }}

{{/* Where the files of all workspaces are, unless the user made the PVC. A volume can't be changed in that. */}}
{{- define "neutree.gate.sharedVolume" -}}
{{- $shared := .Values.global.storage.shared -}}
{{- $source := include "common.sharedSource" . -}}
{{- if ne $source "claim" -}}
claim: {namespace: {{ include "common.workspaceNamespace" . | quote }}, name: {{ include "common.sharedClaim" . }}}
volume: {{ include "common.clusterName" (list . "shared") }}
class: {{ include "common.clusterName" (list . "nfs") }}
{{- if eq $source "nfs" }}
source: {nfs: {server: {{ $shared.nfs.server | quote }}, path: {{ $shared.nfs.path | quote }}}}
{{- else if eq $source "nfsClass" }}
source: {csi: {server: {{ $shared.nfs.server | quote }}, path: {{ $shared.nfs.path | quote }}}}
{{- else if eq $source "node" }}
source: {folder: {path: {{ $shared.nodeLocal.path | quote }}, node: {{ $shared.nodeLocal.node | quote }}}}
{{- end }}
{{- end }}
{{- end }}

{{/* The reasons against a change that somebody has decided to go past. */}}
{{- define "neutree.gate.allow" -}}
{{- $global := .Values.global -}}
allow:
  olderImages: {{ $global.upgrade.allowOlderImages }}
  renames: {{ $global.upgrade.allowRenames }}
  secretChanges: {{ $global.upgrade.allowSecretChanges }}
  keptValues: {{ $global.upgrade.allowKeptValues }}
  majorUpgrade: {{ $global.upgrade.allowMajorUpgrade | default false }}
  {{- with $global.upgrade.adoptDatabase }}
  adoptDatabase: {{ . | quote }}
  {{- end }}
{{- end }}
