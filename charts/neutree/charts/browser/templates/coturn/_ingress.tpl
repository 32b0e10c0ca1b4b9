{{/* It asks for credentials itself. On its node's network no policy holds. */}}
{{- define "browser.coturn.ingress" -}}
- ports:
    - port: 3478
    - port: 3478
      protocol: UDP
    - port: {{ .Values.coturn.relayPorts.min }}
      endPort: {{ .Values.coturn.relayPorts.max }}
      protocol: UDP
{{- end }}
