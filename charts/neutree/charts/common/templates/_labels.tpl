{{/*
Labels take an "app": dict "root" $ "name" <name of the object> "component" <what it does>.
*/}}

{{/* What selectors match: nothing but the name, so that an installation made without Helm can be taken over. */}}
{{- define "common.selector" -}}
app: {{ .name }}
{{- end }}

{{/* Labels of pods: nothing that changes with the chart's version, or each upgrade would restart every pod. */}}
{{- define "common.podLabels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/part-of: neutree
{{- with .root.Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Labels of objects that hooks create: no part of the release, so that Helm's own would be wrong, and none that changes
with the chart's version. Usage: include "common.createdLabels" (list $ <component>)
*/}}
{{- define "common.createdLabels" -}}
app.kubernetes.io/part-of: neutree
app.kubernetes.io/component: {{ index . 1 }}
{{- with (index . 0).Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of all other objects. */}}
{{- define "common.labels" -}}
{{ include "common.podLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "neutree-%s" .root.Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{/* Metadata of an object in the release's namespace: its name and labels. Annotations may follow it. Takes an "app". */}}
{{- define "common.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "common.labels" . | nindent 2 }}
{{- end }}

{{/*
Metadata of the pods of a workload: the chart's labels, and what its values add to them.
Usage: include "common.podMetadata" (dict "app" $app "values" <the workload's> "annotations" (dict …) "labels" (dict …)
       "noProxy" <no service mesh adds a proxy, unless the values say so>)
*/}}
{{- define "common.podMetadata" -}}
{{- $noProxy := .noProxy | default false -}}
{{- $labels := $noProxy | ternary (include "common.noProxyLabels" . | fromYaml) dict -}}
{{- $annotations := $noProxy | ternary (include "common.noProxyAnnotations" . | fromYaml) dict -}}
labels:
  {{- toYaml (merge (include "common.podLabels" .app | fromYaml) (.labels | default dict) (.values.podLabels | default dict) $labels) | nindent 2 }}
{{- with merge (.annotations | default dict) (.values.podAnnotations | default dict) $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
