{{/*
Variables that send a service's calls out of the cluster through a proxy, as a YAML list; empty without a proxy, and for
a service that can't use one. The names are upper case only: gRPC reads lower-case ones, and does not know domains.
Usage: include "common.proxyEnv" (list $ <facts of the service> <its own values>)
*/}}
{{- define "common.proxyEnv" -}}
{{- $root := index . 0 -}}
{{- $global := $root.Values.global.proxy -}}
{{- /* The control plane's own proxy, of version 0.1.0. */ -}}
{{- $own := (index . 2).proxy | default dict -}}
{{- $http := $own.http | default $global.httpProxy -}}
{{- $https := $own.https | default $global.httpsProxy -}}
{{- if and (index . 1).proxy (or $http $https) -}}
{{- with $http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with $https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- $given := concat $global.noProxy ($own.noProxy | default list) | uniq | join "," | include "common.literal" }}
- name: NO_PROXY
  value: {{ concat (include "common.inside" $root | fromYamlArray) (list $given) | compact | join "," | quote }}
{{- if eq (index . 1).proxy "node" }}
- name: NODE_USE_ENV_PROXY
  value: "1"
{{- end }}
{{- end }}
{{- end }}

{{/* Names and addresses inside the cluster, which are reached without a proxy, as a YAML list. */}}
{{- define "common.inside" -}}
{{- $names := list "localhost" "127.0.0.1" ".svc" ".cluster.local" -}}
{{- $names = concat $names (list "kubernetes" "kubernetes.default" "$(KUBERNETES_SERVICE_HOST)") -}}
{{- range list .Release.Namespace (include "common.workspaceNamespace" .) | uniq -}}
{{- $names = append $names (printf ".%s" .) -}}
{{- end -}}
{{- range include "common.services" . | fromYamlArray -}}
{{- $names = append $names (include "common.serviceName" (list $ .)) -}}
{{- end -}}
{{- $names | toYaml -}}
{{- end }}
