{{/*
Not empty when an uninstall of this very revision deletes the data. The value names release and revision, so that it
holds for no later one that --reuse-values, a values file or a rollback carries it to; after a rollback, which renders
nothing, the hooks compare the revision themselves.
*/}}
{{- define "neutree.delete.asked" -}}
{{- if eq .Values.uninstall.deleteData (include "neutree.delete.value" .) }}yes{{ end }}
{{- end }}

{{/* The value that asks for it. */}}
{{- define "neutree.delete.value" -}}
{{ .Release.Name }}@{{ .Release.Revision }}
{{- end }}

{{/*
Not empty when the chart makes the namespace of the workspaces, so that it may be deleted with all that is in it. One
that holds a volume of the user's own stays.
*/}}
{{- define "neutree.delete.workspaces" -}}
{{- if and .Values.global.workspaces.createNamespace (not .Values.global.storage.shared.existingClaim) (ne (include "common.workspaceNamespace" .) .Release.Namespace) -}}
yes
{{- end }}
{{- end }}

{{/* Names of the claims in one namespace to delete, as JSON. Usage: include "neutree.delete.claims" (list $ <namespace>) */}}
{{- define "neutree.delete.claims" -}}
{{- $names := list -}}
{{- range (include "neutree.delete.spec" (index . 0) | fromYaml).claims }}
{{- if eq .namespace (index $ 1) }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- $names | toJson }}
{{- end }}

{{/* What an uninstall deletes that is to delete the data. */}}
{{- define "neutree.delete.spec" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $global := .Values.global -}}
{{- $workspaces := include "common.workspaceNamespace" . -}}
{{- $made := include "neutree.secrets.madeNames" . | fromYamlArray -}}
{{- $claims := list (dict "namespace" .Release.Namespace "name" (include "common.name" (list . "backups"))) -}}
{{- $given := list -}}
{{- $givenSecrets := list -}}
{{- range include "neutree.secrets.names" . | fromYamlArray }}
{{- if not (has . $made) }}
{{- $givenSecrets = append $givenSecrets . }}
{{- end }}
{{- end }}
{{- $afs := dict "namespace" .Release.Namespace "name" (include "common.afsControllerClaim" .) -}}
{{- if $global.storage.afsController.existingClaim }}
{{- $given = append $given $afs }}
{{- else }}
{{- $claims = append $claims $afs }}
{{- end }}
{{- $shared := dict "namespace" $workspaces "name" (include "common.sharedClaim" .) -}}
{{- if $global.storage.shared.existingClaim }}
{{- $given = append $given $shared }}
{{- else if not (include "neutree.delete.workspaces" .) }}
{{- $claims = append $claims $shared }}
{{- end -}}
namespace: {{ .Release.Namespace | quote }}
release: {{ .Release.Name | quote }}
revision: {{ .Release.Revision }}
{{- if not (include "common.externalDatabase" .) }}
cluster: {{ include "common.name" (list . "pg") }}
{{- end }}
secrets: {{ append $made (include "neutree.rotate.keyring" .) | toJson }}
givenSecrets: {{ $givenSecrets | toJson }}
configMaps: [{{ include "common.storageConfigMap" . }}, {{ include "neutree.restoreNote" . }}, {{ include "neutree.installation" . }}, {{ include "neutree.drill.record" . }}]
claims: {{ $claims | toJson }}
givenClaims: {{ $given | toJson }}
# Those that failed stay for their log.
jobs:
  {{- range $facts.hookJobs }}
  {{- if .stays }}
  - {{ include "common.name" (list $ .name) }}
  {{- end }}
  {{- end }}
{{- if index .Values "cloudnative-pg" "enabled" }}
leases: [{{ $facts.operator.lease }}]
crdGroup: postgresql.cnpg.io
{{- end }}
workspaces:
  namespace: {{ $workspaces | quote }}
  created: {{ include "neutree.delete.workspaces" . | empty | not }}
{{- end }}
