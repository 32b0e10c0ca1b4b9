{{/*
Certificate authorities of the user's own, for the services that call others. Node reads one file of them when it
starts. Each of these is empty where there are none.
*/}}
{{- define "common.trustEnv" -}}
{{- if .Values.global.trustedCAs.existingSecret -}}
- name: NODE_EXTRA_CA_CERTS
  value: /etc/neutree/trusted-cas/ca.crt
{{- end }}
{{- end }}

{{- define "common.trustMount" -}}
{{- if .Values.global.trustedCAs.existingSecret -}}
- name: trusted-cas
  mountPath: /etc/neutree/trusted-cas
  readOnly: true
{{- end }}
{{- end }}

{{- define "common.trustVolume" -}}
{{- with .Values.global.trustedCAs -}}
{{- if .existingSecret -}}
- name: trusted-cas
  secret:
    secretName: {{ .existingSecret | quote }}
    items:
      - {key: {{ .existingSecretKey | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- end }}
