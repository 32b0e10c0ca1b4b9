{{/* Where the values of each service are, as a JSON mapping. Its subchart is called like the first part. */}}
{{- define "neutree.workloadPaths" -}}
{{- dict
  "cp" "controlPlane.cp" "scheduler" "controlPlane.scheduler" "skills" "controlPlane.skills"
  "office-converter" "controlPlane.officeConverter" "cg" "gateway" "env-runner-k8s" "workspaceRuntime.runner"
  "afs-controller" "workspaceRuntime.afsController" "sandbox" "sandbox.service" "browser" "browser.service"
  "coturn" "browser.coturn" | toJson -}}
{{- end }}

{{/*
Settings of pods, by the path of their values, and what the chart itself puts into these pods: names of volumes, and
paths that they are mounted at. Those of a module count when it is on. A YAML mapping.
*/}}
{{- define "neutree.workloads" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $services := include "common.services" . | fromYamlArray -}}
{{- if and .Values.global.modules.browser.enabled .Values.browser.coturn.enabled }}
{{- $services = append $services "coturn" }}
{{- end }}
{{- $paths := include "neutree.workloadPaths" . | fromJson -}}
{{- $own := dict
  "afs-controller" (dict "config" "/etc/afs" "data" "/var/lib/afs")
  "coturn" (dict "config" "/etc/coturn") -}}
{{- $workloads := dict -}}
{{- range $name, $path := $paths }}
{{- if has $name $services }}
{{- $service := get $facts.services $name }}
{{- $volumes := dict "tmp" "/tmp" | merge (get $own $name | default dict) }}
{{- with $service.cache }}{{ $_ := set $volumes .volume .path }}{{ end }}
{{- $mounts := list }}
{{- if $service.trustedCAs }}{{ $mounts = concat $mounts (include "common.trustMount" $ | fromYamlArray) }}{{ end }}
{{- if $service.connections }}{{ $mounts = concat $mounts (include "common.databaseMount" $ | fromYamlArray) }}{{ end }}
{{- range $mounts }}{{ $_ := set $volumes .name .mountPath }}{{ end }}
{{- $_ := set $workloads $path (dict "volumes" $volumes) }}
{{- end }}
{{- end }}
{{- if and .Values.global.modules.sandbox.enabled .Values.sandbox.imageWarmer.enabled }}
{{- $_ := set $workloads "sandbox.imageWarmer" (dict "volumes" dict) }}
{{- end }}
{{- $hooks := dict "spec" "/spec" "neutree" "/neutree" "tmp" "/tmp" "backups" "/backups" "afs" "/afs"
  "restore" "/restore" "workloads" "/workloads" }}
{{- range include "common.databaseMount" . | fromYamlArray }}{{ $_ := set $hooks .name .mountPath }}{{ end }}
{{- $_ := set $workloads "global.hooks" (dict "volumes" $hooks) }}
{{- $workloads | toYaml }}
{{- end }}

{{/* What Kubernetes would refuse of pods, and Helm only meet after other services were replaced, as a YAML list of sentences. */}}
{{- define "neutree.validate.workloads" -}}
{{- $problems := list -}}
{{- range $path, $workload := include "neutree.workloads" . | fromYaml }}
{{- $values := include "neutree.at" (list $.Values $path) | fromJson }}
{{- $problems = concat $problems (include "neutree.validate.tolerations" (list $path $values.tolerations) | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.lists" (list $path $values $workload.volumes) | fromYamlArray) }}
{{- $problems = concat $problems (include "neutree.validate.resources" (list (printf "%s.resources" $path) $values.resources) | fromYamlArray) }}
{{- end }}
{{- $global := .Values.global }}
{{- range $path, $tolerations := dict
  "global.scheduling" $global.scheduling.tolerations
  "global.backup" $global.backup.tolerations
  "global.database.cnpg" $global.database.cnpg.tolerations }}
{{- $problems = concat $problems (include "neutree.validate.tolerations" (list $path $tolerations) | fromYamlArray) }}
{{- end }}
{{- range $path, $resources := dict
  "global.hooks.seedResources" $global.hooks.seedResources
  "global.exposure.frontResources" $global.exposure.frontResources
  "global.backup.resources" $global.backup.resources
  "global.workspaces.sidecarResources" $global.workspaces.sidecarResources
  "cloudnative-pg.resources" (index .Values "cloudnative-pg" "resources")
  "global.database.cnpg.resources" $global.database.cnpg.resources }}
{{- $problems = concat $problems (include "neutree.validate.resources" (list $path $resources) | fromYamlArray) }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}

{{/* Tolerations that contradict themselves. Usage: include "neutree.validate.tolerations" (list <path> <tolerations>) */}}
{{- define "neutree.validate.tolerations" -}}
{{- $path := index . 0 -}}
{{- $problems := list -}}
{{- range index . 1 }}
{{- if and (eq (.operator | default "Equal") "Exists") .value }}
{{- $problems = append $problems (printf "%s.tolerations has an entry with operator Exists and value %s, which Exists does not compare: remove the value, or set operator to Equal" $path .value) }}
{{- end }}
{{- if and (not .key) (ne (.operator | default "Equal") "Exists") }}
{{- $problems = append $problems (printf "%s.tolerations has an entry without a key, which needs operator Exists: set key, or operator to Exists" $path) }}
{{- end }}
{{- if and (hasKey . "tolerationSeconds") (ne (.effect | default "") "NoExecute") }}
{{- $problems = append $problems (printf "%s.tolerations has an entry with tolerationSeconds, which needs effect NoExecute: set effect to NoExecute" $path) }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}

{{/* The value at a path, as JSON. Usage: include "neutree.at" (list .Values "controlPlane.cp") */}}
{{- define "neutree.at" -}}
{{- $at := index . 0 -}}
{{- range splitList "." (index . 1) -}}
{{- $at = get $at . | default dict -}}
{{- end -}}
{{- $at | toJson -}}
{{- end }}

{{/*
Names that one list of a pod has twice, or that are the chart's, and mounts without a volume.
Usage: include "neutree.validate.lists" (list <path> <values> <volumes of the chart>)
*/}}
{{- define "neutree.validate.lists" -}}
{{- $path := index . 0 -}}
{{- $values := index . 1 -}}
{{- $own := index . 2 | default dict -}}
{{- $problems := list -}}
{{- $names := list }}
{{- range $values.extraEnv }}{{ $names = append $names .name }}{{ end }}
{{- range include "neutree.repeated" $names | fromJsonArray }}
{{- $problems = append $problems (printf "%s.extraEnv has the variable %s more than once: leave one of them" $path .) }}
{{- end }}
{{- $names = list }}
{{- range $values.extraVolumes }}{{ $names = append $names .name }}{{ end }}
{{- range include "neutree.repeated" $names | fromJsonArray }}
{{- $problems = append $problems (printf "%s.extraVolumes has the volume %s more than once: leave one of them" $path .) }}
{{- end }}
{{- range $names | uniq }}
{{- if hasKey $own . }}
{{- $problems = append $problems (printf "%s.extraVolumes has a volume named %s, and so has the chart, at %s: choose another name" $path . (get $own .)) }}
{{- end }}
{{- end }}
{{- $mounted := list }}
{{- range $values.extraVolumeMounts }}
{{- if not (or (has .name $names) (hasKey $own .name)) }}
{{- $problems = append $problems (printf "%s.extraVolumeMounts mounts the volume %s at %s, and there is none of that name: add it to %s.extraVolumes, or correct the name" $path .name .mountPath $path) }}
{{- end }}
{{- $mounted = append $mounted .mountPath }}
{{- end }}
{{- range include "neutree.repeated" $mounted | fromJsonArray }}
{{- $problems = append $problems (printf "%s.extraVolumeMounts mounts more than one volume at %s: leave one of them" $path .) }}
{{- end }}
{{- range $mounted | uniq }}
{{- if has . (values $own) }}
{{- $problems = append $problems (printf "%s.extraVolumeMounts mounts a volume at %s, where the chart mounts one of its own: choose another path" $path .) }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}

{{/* Those of a list that are in it more than once, each once, as a JSON array. */}}
{{- define "neutree.repeated" -}}
{{- $seen := list -}}
{{- $repeated := list -}}
{{- range . -}}
{{- if has . $seen -}}{{- $repeated = append $repeated . -}}{{- end -}}
{{- $seen = append $seen . -}}
{{- end -}}
{{- $repeated | uniq | toJson -}}
{{- end }}

{{/*
Requests that are above their limits. Kubernetes shares out cpu, memory and ephemeral-storage only; of every other resource a
container gets as much as its limit says, so that its request must be the same.
Usage: include "neutree.validate.resources" (list <path> <resources>)
*/}}
{{- define "neutree.validate.resources" -}}
{{- $path := index . 0 -}}
{{- $resources := include "common.resources" (index . 1) | fromYaml -}}
{{- $limits := $resources.limits | default dict -}}
{{- $problems := list -}}
{{- range $name, $request := $resources.requests }}
{{- $limit := get $limits $name }}
{{- $shared := has $name (list "cpu" "memory" "ephemeral-storage") }}
{{- if and (not $shared) (not (hasKey $limits $name)) }}
{{- $problems = append $problems (printf "%s.requests has %s %v and limits has none, which Kubernetes needs for this resource: set %s.limits to the same" $path $name $request $path) }}
{{- else if hasKey $limits $name }}
{{- $more := gt (include "common.quantity" $request | float64) (include "common.quantity" $limit | float64) }}
{{- if and $shared $more }}
{{- $problems = append $problems (printf "%s.requests.%s is %v, above %s.limits.%s, which is %v: raise the limit too, or set it to \"\" for none" $path $name $request $path $name $limit) }}
{{- else if and (not $shared) (ne (include "common.quantity" $request | float64) (include "common.quantity" $limit | float64)) }}
{{- $problems = append $problems (printf "%s.requests has %s %v and limits has %v, and Kubernetes wants the same of this resource: set both alike" $path $name $request $limit) }}
{{- end }}
{{- end }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}
