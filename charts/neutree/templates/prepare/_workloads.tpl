{{/*
Workloads of the release's namespace that Helm applies after this phase, as a JSON list, from the templates that the
release renders. Each has the path of its values. Those of the operator's chart are not among them.
*/}}
{{- define "neutree.prepare.workloads" -}}
{{- $root := . -}}
{{- $global := .Values.global -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $paths := include "neutree.workloadPaths" . | fromJson -}}
{{- $workloads := list -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $path := get $paths . }}
{{- $chart := get $root.Subcharts (splitList "." $path | first) }}
{{- $deployment := include (print $path ".deployment") $chart | fromYaml }}
{{- $workloads = append $workloads (dict "value" $path "object" $deployment) }}
{{- if (get $facts.services .).servicePort }}
{{- $service := include "common.service" (list $chart .) | fromYaml }}
{{- $workloads = append $workloads (dict "value" $path "object" $service) }}
{{- end }}
{{- end }}
{{- $templates := dict -}}
{{- if and $global.modules.browser.enabled .Values.browser.coturn.enabled }}
{{- $names := list "deployment" "service" }}
{{- if eq .Values.browser.coturn.network "loadBalancer" }}{{ $names = append $names "externalService" }}{{ end }}
{{- $_ := set $templates "browser.coturn" $names }}
{{- end }}
{{- if and $global.modules.sandbox.enabled .Values.sandbox.imageWarmer.enabled }}
{{- $_ := set $templates "sandbox.imageWarmer" (list "daemonset") }}
{{- end }}
{{- range $path, $names := $templates }}
{{- $chart := get $root.Subcharts (splitList "." $path | first) }}
{{- range $names }}
{{- $workloads = append $workloads (dict "value" $path "object" (include (printf "%s.%s" $path .) $chart | fromYaml)) }}
{{- end }}
{{- end }}
{{- if not $global.storage.afsController.existingClaim }}
{{- $claim := include "workspaceRuntime.afsController.claim" .Subcharts.workspaceRuntime | fromYaml }}
{{- $workloads = append $workloads (dict "value" "global.storage.afsController" "object" $claim) }}
{{- end }}
{{- if include "common.frontHolds" . }}
{{- $front := include "common.frontNodePort" .Subcharts.controlPlane | fromYaml }}
{{- $workloads = append $workloads (dict "value" "global.exposure" "object" $front) }}
{{- end }}
{{- if eq $global.exposure.type "ingress" }}
{{- $closed := include "neutree.closedService.service" . | fromYaml }}
{{- $workloads = append $workloads (dict "value" "global.exposure" "object" $closed) }}
{{- end }}
{{- $workloads | toJson }}
{{- end }}

{{/* Name of the Secret that has them. */}}
{{- define "neutree.prepare.workloadsSecret" -}}
{{ include "common.name" (list . "pre-install-workloads") }}
{{- end }}

{{/*
Secret with those workloads: extraEnv may hold what must not be in a ConfigMap. A Secret holds 1 MiB, so those that make
it larger than 768 KiB are left out, and the hook says of them that they were not checked.
Usage: include "neutree.prepare.workloadsFile" (list $ <workloads>)
*/}}
{{- define "neutree.prepare.workloadsFile" -}}
{{- $root := index . 0 -}}
{{- $size := 0 -}}
{{- $fitting := list -}}
{{- $left := list -}}
{{- range index . 1 }}
{{- $size = add $size (toYaml . | len) }}
{{- if le (int $size) 786432 }}
{{- $fitting = append $fitting . }}
{{- else }}
{{- $left = append $left (printf "%s %s" .object.kind .object.metadata.name) }}
{{- end }}
{{- end -}}
{{- $app := dict "root" $root "name" (include "neutree.prepare.workloadsSecret" $root) "component" "pre-install" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
stringData:
  workloads.yaml: |
    {{- dict "workloads" $fitting "left" $left | toYaml | nindent 4 }}
{{- end }}

{{/*
Rights to have the API server judge workloads: those that exist are patched in a dry run. Deployments are restarted too
when a Secret of theirs has changed. Usage: include "neutree.prepare.workloadRules" <workloads>
*/}}
{{- define "neutree.prepare.workloadRules" -}}
{{- $resources := dict
  "Deployment" (list "apps" "deployments") "DaemonSet" (list "apps" "daemonsets")
  "Service" (list "" "services")
  "PersistentVolumeClaim" (list "" "persistentvolumeclaims") -}}
{{- $names := dict -}}
{{- range . }}
{{- $_ := set $names .object.kind (append (get $names .object.kind | default list) .object.metadata.name) }}
{{- end }}
# Would the API server accept what Helm applies? And Deployments are restarted when a Secret of theirs has changed.
{{- range $kind, $of := $names }}
{{- $resource := get $resources $kind }}
- apiGroups: [{{ first $resource | quote }}]
  resources: [{{ last $resource }}]
  resourceNames: {{ $of | uniq | sortAlpha | toJson }}
  verbs: [get, patch]
{{- end }}
{{- end }}
