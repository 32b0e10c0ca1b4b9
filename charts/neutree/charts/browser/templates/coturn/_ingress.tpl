{{/* It asks for credentials itself. On its node's network no policy holds. */}}
{{- define "browser.coturn.ingress" -}}
{{- $port := include "common.servicePort" (list . "coturn") -}}
- ports:
    - port: {{ $port }}
    - port: {{ $port }}
      protocol: UDP
    - port: {{ .Values.coturn.relayPorts.min }}
      endPort: {{ .Values.coturn.relayPorts.max }}
      protocol: UDP
{{- end }}
