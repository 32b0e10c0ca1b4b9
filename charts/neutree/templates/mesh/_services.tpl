{{/*
Services, by name without the prefix, that clients outside the mesh connect to at any time: init containers, workspaces,
users by an Ingress or a port, chat systems. As a YAML list.
*/}}
{{- define "neutree.mesh.open" -}}
{{- $open := list -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $facts := get (include "common.facts" $ | fromJson).services . }}
{{- if or $facts.nodePort (has . (list "afs-controller" "cg")) }}
{{- $open = append $open . }}
{{- end }}
{{- end }}
{{- $open | toYaml }}
{{- end }}

{{/* The other services with a port, which helm test alone connects to from outside the mesh. As a YAML list. */}}
{{- define "neutree.mesh.tested" -}}
{{- $tested := list -}}
{{- range include "common.services" . | fromYamlArray }}
{{- if (get (include "common.facts" $ | fromJson).services .).port }}
{{- $tested = append $tested . }}
{{- end }}
{{- end }}
{{- range include "neutree.mesh.open" . | fromYamlArray }}
{{- $tested = without $tested . }}
{{- end }}
{{- $tested | toYaml }}
{{- end }}

{{/*
PeerAuthentications of services, as a YAML list; empty for another mesh than Istio.
Usage: include "neutree.mesh.peerAuthentications" (list $ <list of services> <first part of their names> <component>)
*/}}
{{- define "neutree.mesh.peerAuthentications" -}}
{{- $root := index . 0 -}}
{{- $objects := list -}}
{{- if eq $root.Values.global.mesh "istio" }}
{{- range $service := index . 1 }}
{{- $facts := get (include "common.facts" $root | fromJson).services $service }}
{{- $selects := include "common.serviceName" (list $root $service) }}
{{- $component := index $ 3 | default $facts.component }}
{{- $app := dict "root" $root "name" (printf "%s%s" (index $ 2) $selects) "component" $component }}
{{- $ports := list $facts.port }}
{{- if and (eq $service "cp") (include "common.hasFront" $root) }}
{{- $ports = append $ports (include "common.facts" $root | fromJson).front.port }}
{{- end }}
{{- $object := dict "app" $app "selects" $selects "ports" $ports }}
{{- $objects = append $objects (include "common.peerAuthentication" $object | fromYaml) }}
{{- end }}
{{- end }}
{{- $objects | toYaml }}
{{- end }}
