{{/* Address of the AFS controller, as services, workspaces and the configuration of their mounts must all spell it. */}}
{{- define "common.afsControllerAddress" -}}
{{ include "common.serviceAddress" (list . "afs-controller") }}
{{- end }}

{{/*
How workspaces are made. The control plane compares running workspaces with these settings, and the runner makes
them from the same: a difference between the two would rebuild every workspace for ever. So this is one template.
*/}}
{{- define "common.workspaceEnv" -}}
{{- $global := .Values.global -}}
{{- $agent := $global.images.agent -}}
{{- $selector := list }}
{{- range $key, $value := $global.workspaces.nodeSelector }}
{{- $selector = append $selector (printf "%s=%s" $key $value) }}
{{- end -}}
- name: K8S_NAMESPACE
  value: {{ include "common.workspaceNamespace" . | quote }}
- name: CP_SERVICE_URL
  value: {{ include "common.serviceURL" (list . "cp") }}
# The kind of agent is added to the prefix: one tag serves all kinds.
- name: AGENT_IMAGE_PREFIX
  value: {{ $global.imageRegistry | default $agent.registry }}/{{ $agent.repository }}
- name: AGENT_IMAGE_TAG
  value: {{ $agent.tag | quote }}
- name: AGENT_STORAGE_CLASS
  {{- if $global.workspaces.storageClass }}
  value: {{ $global.workspaces.storageClass | quote }}
  {{- else }}
  # The services can't be told "the default class", so bootstrap finds its name.
  valueFrom:
    configMapKeyRef:
      name: {{ include "common.storageConfigMap" . }}
      key: {{ include "common.workspaceClassKey" . }}
  {{- end }}
# Always set, even when empty: unset stands for a selector that no other cluster has.
- name: AGENT_NODE_SELECTOR
  value: {{ $selector | join "," | quote }}
{{- with include "common.pullSecretNames" . | fromYamlArray }}
# The services know one pull secret only.
- name: IMAGE_PULL_SECRET
  value: {{ first . | quote }}
{{- end }}
- name: WORKSPACE_STORAGE_SIZE
  value: {{ $global.workspaces.storageSize }}
{{- if $global.workspaces.multiReplica }}
- name: WORKSPACE_MULTI_REPLICA
  value: "true"
{{- end }}
- name: AFS_ENABLED
  value: "true"
- name: AFS_IMAGE
  value: {{ include "common.image" (list . "afs") }}
- name: AFS_CONTROLLER_ADDR
  value: {{ include "common.afsControllerAddress" . }}
- name: AFS_STORAGE_PVC
  value: {{ include "common.sharedClaim" . }}
- name: AFS_CONFIGMAP
  value: afs-fuse-config
- name: MEMORY_FUSE_IMAGE
  value: {{ include "common.image" (list . "memoryFuse") }}
{{- end }}
