{{/*
Annotations of an object that one phase of an install or upgrade brings along. Weights within a phase are distinct,
since equal ones are sorted by name. Helm heeds those of a List and creates its items in their order; who syncs the
items one by one, as ArgoCD does, heeds theirs.
Usage: include "neutree.hook" (list "pre-install,pre-upgrade" -50)
*/}}
{{- define "neutree.hook" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/*
Job of one phase. Its name without the prefix is its component and its command of nap-hooks too. Takes a dict:
  root    $
  name    name without the prefix
  hook    list of events and weight
  logs    of which outcomes Helm prints the log
  job     dict for "common.jobSpec"; its ConfigMap and ServiceAccount have the Job's name unless it names others
*/}}
{{- define "neutree.hookJob" -}}
{{- $app := dict "root" .root "name" (include "common.name" (list .root .name)) "component" .name -}}
{{- $objects := dict "configMap" $app.name "serviceAccount" $app.name "command" .name -}}
{{- /* A cluster that adds nodes as they are needed has ten minutes for that. Helm's --timeout may end sooner. */ -}}
{{- $start := dict "startSeconds" .root.Values.global.hooks.timeouts.start "nodeSeconds" 600 -}}
{{- /* Helm prints what a hook logs, Helm 4 as one line in quotes. */ -}}
{{- $log := dict "args" (prepend (.job.args | default list) "--log-format=plain") -}}
{{- /* Flux's helm-controller 1.6 crashes where it is to print a log. It may render this wherever its API is. */ -}}
{{- $prints := not (.root.Capabilities.APIVersions.Has "helm.toolkit.fluxcd.io/v2") -}}
{{- $hook := include "neutree.hook" .hook -}}
{{- /* The Job of a rollback that passes stays for its warnings, where Helm does not print them. */ -}}
{{- $stays := and (not $prints) (eq (index .hook 0) "pre-rollback") -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
  annotations:
    {{- $stays | ternary ($hook | replace ",hook-succeeded" "") $hook | nindent 4 }}
    {{- if $prints }}
    helm.sh/hook-output-log-policy: {{ .logs }}
    {{- end }}
spec:
  {{- if $stays }}
  ttlSecondsAfterFinished: 604800
  {{- end }}
  {{- include "common.jobSpec" (merge $log $app .job $objects $start) | nindent 2 }}
{{- end }}

{{/*
All that the Jobs of one phase need, as one hook: Helm waits after each. A ServiceAccount, a ConfigMap, and roles with
bindings. Takes a dict:
  app             dict with root, name, component
  hook            list of events and weight
  data            data of the ConfigMap
  configMap       its name, unless it has the app's
  rules           of the role in the release's namespace, none for a phase that does without the Kubernetes API
  clusterRules    of a ClusterRole
  workspaceRules  of a role in the workspaces' namespace
  operatorRules   of a role in the namespace of the release's operator, if that is another
  more            list of more objects
*/}}
{{- define "neutree.hookObjects" -}}
{{- $namespace := .app.root.Release.Namespace -}}
{{- $hook := include "neutree.hook" .hook | fromYaml -}}
{{- $configMap := dict "apiVersion" "v1" "kind" "ConfigMap" "metadata" (include "common.metadata" (merge (dict "name" (.configMap | default .app.name)) .app) | fromYaml) "data" (printf "%s\n" .data | fromYaml) -}}
{{- $items := list (include "common.serviceAccount" .app | fromYaml) $configMap -}}
{{- $roles := list
  (dict "app" .app "rules" .rules "name" .app.name "namespace" $namespace)
  (dict "app" .app "rules" .clusterRules "name" (printf "%s-%s" $namespace .app.name))
  (dict "app" .app "rules" .workspaceRules "name" (printf "%s-workspaces" .app.name) "namespace" (include "common.workspaceNamespace" .app.root))
  (dict "app" .app "rules" .operatorRules "name" (printf "%s-%s-operator" $namespace .app.name) "namespace" (include "neutree.operator.namespace" .app.root)) -}}
{{- range $roles }}
{{- if trim (.rules | default "") }}
{{- $items = concat $items (list (include "common.role" . | fromYaml) (include "common.roleBinding" . | fromYaml)) }}
{{- end }}
{{- end }}
{{- range .more }}
{{- $items = append $items . }}
{{- end -}}
apiVersion: v1
kind: List
metadata:
  name: {{ .app.name }}
  annotations:
    {{- toYaml $hook | nindent 4 }}
items:
  {{- range $items }}
  {{- $_ := set .metadata "annotations" $hook }}
  - {{ toYaml . | nindent 4 | trim }}
  {{- end }}
{{- end }}

{{/* Names of the hooks of an upgrade, which Helm waits for, as a YAML list. */}}
{{- define "neutree.upgradeHooks" -}}
{{- range (include "common.facts" . | fromJson).hookJobs }}
{{- if and .upgrades (not .stays) (ne .name "bootstrap") }}
- {{ include "common.name" (list $ .name) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A file in the data of a ConfigMap. Usage: include "neutree.file" (list "seed.yaml" <content>) */}}
{{- define "neutree.file" -}}
{{ index . 0 }}: |
  {{- index . 1 | nindent 2 }}
{{- end }}
