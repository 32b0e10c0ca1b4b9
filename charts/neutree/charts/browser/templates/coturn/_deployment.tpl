{{/* Deployment of coturn. */}}
{{- define "browser.coturn.deployment" -}}
{{- /*
On its node's network, or with a port of its node, it needs Pod Security "privileged". Users and browsers reach it by
that one port.
*/ -}}
{{- $onNode := dict "hostNetwork" true "dnsPolicy" "Default" -}}
{{- include "common.deployment" (dict "root" . "service" "coturn" "values" .Values.coturn
  "env" (include "browser.coturn.env" .)
  "podMetadata" (dict "annotations" (dict "checksum/config" (include "browser.coturn.config" (list . .Values) | sha256sum)))
  "noProxy" true
  "hostPort" (eq .Values.coturn.network "hostPort")
  "pod" (eq .Values.coturn.network "hostNetwork" | ternary $onNode dict)
  "container" (include "browser.coturn.command" . | fromYaml)
  "volumes" (list (dict "name" "config" "mountPath" "/etc/coturn" "readOnly" true "secret" (dict "secretName" (include "browser.coturn.secret" .))))) }}
{{- end }}
