{{/*
Namespace that the bundled operator runs in. One that leaves with this revision runs where it did until now, whatever the
values say.
*/}}
{{- define "neutree.operator.namespace" -}}
{{- $operator := index .Values "cloudnative-pg" -}}
{{- $namespace := $operator.namespaceOverride | default .Release.Namespace -}}
{{ $operator.enabled | ternary $namespace (include "neutree.operator.liveNamespace" . | default $namespace) }}
{{- end }}

{{/*
Namespace that the operator of this release runs in now, as its webhooks in the cluster say. Nothing where it has none, or
where there is no cluster to ask.
*/}}
{{- define "neutree.operator.liveNamespace" -}}
{{- with lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "cnpg-mutating-webhook-configuration" -}}
{{- if not (include "neutree.owner" (list $ .)) -}}
{{- range $i, $webhook := .webhooks -}}
{{- if not $i -}}
{{- dig "clientConfig" "service" "namespace" "" $webhook -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Namespaces whose databases the bundled operator looks after, separated by commas; nothing for all of them. The operator
reads its ConfigMap after its environment.
*/}}
{{- define "neutree.operator.watches" -}}
{{- $operator := index .Values "cloudnative-pg" -}}
{{- $config := $operator.config | default dict -}}
{{- $watches := dig "clusterWide" true $config | ternary "" .Release.Namespace -}}
{{- if dig "clusterWide" true $config -}}
{{- range $operator.additionalEnv -}}
{{- if eq .name "WATCH_NAMESPACE" -}}
{{- $watches = .value | default "" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- get ($config.data | default dict) "WATCH_NAMESPACE" | default $watches -}}
{{- end }}

{{/* Name of the bundled operator's Deployment, as its own chart makes it. */}}
{{- define "neutree.operator.name" -}}
{{- $release := .Release.Name -}}
{{- $name := contains "cloudnative-pg" $release | ternary $release (printf "%s-cloudnative-pg" $release) -}}
{{ index .Values "cloudnative-pg" "fullnameOverride" | default $name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
Not empty when the cluster has an operator that an earlier revision of this release contained. Where there is no cluster to
ask nothing is found. It is asked for by name: a list of the namespace can have thousands of workspaces in it. Its webhooks
have the same name whatever its own is.
*/}}
{{- define "neutree.operator.remains" -}}
{{- include "neutree.operator.liveNamespace" . -}}
{{- with lookup "apps/v1" "Deployment" (include "neutree.operator.namespace" .) (include "neutree.operator.name" .) -}}
{{- if not (include "neutree.owner" (list $ .)) -}}
yes
{{- end -}}
{{- end -}}
{{- end }}

{{/* Not empty when the release contains an operator, or did until now. */}}
{{- define "neutree.operator.own" -}}
{{- if index .Values "cloudnative-pg" "enabled" -}}
yes
{{- else -}}
{{- include "neutree.operator.remains" . -}}
{{- end -}}
{{- end }}

{{/* Not empty when hooks have to look at the operator: unless the database is external and the release has no operator. */}}
{{- define "neutree.operator.concerns" -}}
{{- if not (include "common.externalDatabase" .) -}}
yes
{{- else -}}
{{- include "neutree.operator.own" . -}}
{{- end -}}
{{- end }}

{{/* Name of the ConfigMap with the operator's settings; nothing where they are in a Secret. */}}
{{- define "neutree.operator.configMap" -}}
{{- $config := index .Values "cloudnative-pg" "config" | default dict -}}
{{- if not $config.secret -}}
{{- dig "name" "cnpg-controller-manager-config" $config -}}
{{- end -}}
{{- end }}

{{/* What this revision makes of the operator. */}}
{{- define "neutree.operator.spec" -}}
{{- $operator := index .Values "cloudnative-pg" -}}
{{- $facts := (include "common.facts" . | fromJson).operator -}}
release: {{ .Release.Name | quote }}
namespace: {{ .Release.Namespace | quote }}
{{- if not (include "common.externalDatabase" .) }}
cluster: {{ include "common.name" (list . "pg") }}
{{- end }}
bundled: {{ $operator.enabled }}
runsIn: {{ include "neutree.operator.namespace" . | quote }}
{{- with include "neutree.operator.configMap" . }}
configMap: {{ . | quote }}
{{- end }}
{{- if $operator.enabled }}
{{- $tag := dig "image" "tag" "" $operator | default (index .Subcharts "cloudnative-pg").Chart.AppVersion }}
image: {{ printf "%s:%s" (dig "image" "repository" "" $operator) $tag | quote }}
{{- with include "neutree.operator.watches" . }}
watches: {{ . | quote }}
{{- end }}
rendered: {{ dig "crds" "create" true $operator }}
{{- end }}
definitions: {{ toJson $facts.crds }}
installation: {{ include "neutree.installation" . }}
{{- end }}

{{/*
Rights to see the release's operator, where it runs in the namespace given.
Usage: include "neutree.operator.rules" (list $ <namespace>)
*/}}
{{- define "neutree.operator.rules" -}}
{{- $root := index . 0 -}}
{{- if and (include "neutree.operator.concerns" $root) (eq (include "neutree.operator.namespace" $root) (index . 1)) }}
# The release's own operator, and the namespaces that it looks after.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list]
{{- with include "neutree.operator.configMap" $root }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [{{ . | quote }}]
  verbs: [get]
{{- end }}
{{- end }}
{{- end }}

{{/* The same rights, where the operator runs in another namespace than the release. */}}
{{- define "neutree.operator.otherRules" -}}
{{- $namespace := include "neutree.operator.namespace" . -}}
{{- if ne $namespace .Release.Namespace -}}
{{- include "neutree.operator.rules" (list . $namespace) -}}
{{- end -}}
{{- end }}

{{/*
Right to see which databases of other namespaces depend on an operator of this release. Only metadata is read. A render that
can't ask the cluster does not know whether the release had an operator until now.
*/}}
{{- define "neutree.operator.clusterRules" -}}
{{- $blind := and (include "neutree.operator.concerns" .) (not (lookup "v1" "Namespace" "" "kube-system")) -}}
{{- if or $blind (include "neutree.operator.own" .) }}
# Which databases of other namespaces depend on the operator?
- apiGroups: [postgresql.cnpg.io]
  resources: [clusters]
  verbs: [list]
{{- end }}
{{- end }}

{{/* Right to mark the operator's CustomResourceDefinitions, so that no tool prunes them. */}}
{{- define "neutree.operator.definitionRules" -}}
# So that tools which prune never delete them, and with them every database of the cluster.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: {{ toJson (include "common.facts" . | fromJson).operator.crds }}
  verbs: [get, patch]
{{- end }}

{{/*
Selector of the namespace of the operator that serves the database, if that is not the release's: the one that is given, else
that of the operator whose webhooks the cluster has. "{}" where neither is known: webhooks of this release are those of an
operator that leaves with this revision, and nothing says where the next one will run.
*/}}
{{- define "neutree.operator.peerNamespace" -}}
{{- $namespace := include "neutree.operator.namespace" . -}}
{{- if not (index .Values "cloudnative-pg" "enabled") -}}
{{- $namespace = .Values.global.database.cnpg.operatorNamespace -}}
{{- if not $namespace -}}
{{- $live := lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" "cnpg-mutating-webhook-configuration" | default dict -}}
{{- if include "neutree.owner" (list . $live) -}}
{{- range $live.webhooks -}}
{{- $namespace = dig "clientConfig" "service" "namespace" $namespace . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $namespace -}}
{}
{{- else if ne $namespace .Release.Namespace -}}
{matchLabels: {kubernetes.io/metadata.name: {{ $namespace | quote }}}}
{{- end -}}
{{- end }}

{{/* Values of the operator that lack what global.scheduling says for all pods, as a YAML list. Helm hands it nothing. */}}
{{- define "neutree.operator.scheduling" -}}
{{- $operator := index .Values "cloudnative-pg" -}}
{{- $missing := list -}}
{{- if $operator.enabled -}}
{{- range $key := list "nodeSelector" "tolerations" "priorityClassName" -}}
{{- $own := get $operator $key -}}
{{- if eq $key "nodeSelector" -}}
{{- $own = omit ($own | default dict) "kubernetes.io/os" -}}
{{- end -}}
{{- if and (get $.Values.global.scheduling $key) (not $own) -}}
{{- $missing = append $missing (print "cloudnative-pg." $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $missing | toYaml -}}
{{- end }}

{{/* What keeps the bundled operator from looking after the release's own database, as a YAML list of sentences. */}}
{{- define "neutree.validate.watches" -}}
{{- $problems := list -}}
{{- $operator := index .Values "cloudnative-pg" -}}
{{- if and $operator.enabled (not (include "common.externalDatabase" .)) -}}
{{- $config := $operator.config | default dict -}}
{{- $watches := include "neutree.operator.watches" . -}}
{{- if and (not (dig "clusterWide" true $config)) (ne (include "neutree.operator.namespace" .) .Release.Namespace) -}}
{{- $problems = append $problems (printf "cloudnative-pg.namespaceOverride is %q, and with cloudnative-pg.config.clusterWide=false the operator has rights in that namespace only: set cloudnative-pg.config.clusterWide=true, or remove the override" (include "neutree.operator.namespace" .)) -}}
{{- else if and (not (dig "clusterWide" true $config)) (without (splitList "," (nospace $watches)) .Release.Namespace "") -}}
{{- $problems = append $problems (printf "the operator's WATCH_NAMESPACE is %q, and with cloudnative-pg.config.clusterWide=false the operator has rights in namespace %s only: set cloudnative-pg.config.clusterWide=true, or remove the others" $watches .Release.Namespace) -}}
{{- else if and $watches (not (has .Release.Namespace (splitList "," (nospace $watches)))) -}}
{{- $problems = append $problems (printf "the operator's WATCH_NAMESPACE is %q and lacks %s, so this release's database would never be made: add it, or set cloudnative-pg.config.clusterWide=true" $watches .Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- $problems | toYaml -}}
{{- end }}
