{{/* Names, without the prefix, of the services that are switched on, as a YAML list in the order in which they may start. */}}
{{- define "common.services" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- $names := list -}}
{{- range $facts.order }}
{{- $module := (get $facts.services .).module }}
{{- if or (not $module) (dig ($module | default "core") "enabled" false $.Values.global.modules) }}
{{- $names = append $names . }}
{{- end }}
{{- end }}
{{- $names | toYaml }}
{{- end }}

{{/* Name of a service's objects. Usage: include "common.serviceName" (list $ "cp") */}}
{{- define "common.serviceName" -}}
{{- (get (include "common.facts" . | fromJson).services (index . 1)).fixedName | empty | ternary (include "common.name" .) (index . 1) }}
{{- end }}

{{/*
Service of a service, from its facts: users reach it by a port of the nodes where it has one and exposure is by these.
Usage: include "common.service" (list $ "cp")
*/}}
{{- define "common.service" -}}
{{- $root := index . 0 -}}
{{- $facts := get (include "common.facts" . | fromJson).services (index . 1) -}}
{{- $app := dict "root" $root "name" (include "common.serviceName" .) "component" $facts.component -}}
{{- $exposure := $root.Values.global.exposure -}}
{{- $onNodes := and $facts.nodePort (eq $exposure.type "nodePort") -}}
{{- if eq (index . 1) "cp" }}{{ $onNodes = and $onNodes (not (include "common.frontHolds" $root)) }}{{ end -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
spec:
  {{- if $facts.nodePort }}
  type: {{ $onNodes | ternary "NodePort" "ClusterIP" }}
  {{- end }}
  selector:
    {{- include "common.selector" $app | nindent 4 }}
  ports:
    - name: {{ $facts.portName }}
      port: {{ $facts.servicePort }}
      targetPort: {{ $facts.portName }}
      {{- if $onNodes }}
      nodePort: {{ get $exposure.nodePorts $facts.nodePort }}
      {{- end }}
{{- end }}
