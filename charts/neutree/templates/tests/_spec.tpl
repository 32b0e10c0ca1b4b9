{{/* What helm test proves: every service of the modules that are on. */}}
{{- define "neutree.test.spec" -}}
set: {{ include "common.migrationSet" . }}
logIn: {{ include "common.serviceURL" (list . "cp") }}/api/auth/login
services:
  - name: control plane
    url: {{ include "common.healthURL" (list . "cp") }}
  - name: channel gateway
    url: {{ include "common.healthURL" (list . "cg") }}
  - name: skills
    url: {{ include "common.healthURL" (list . "skills") }}
  - name: office converter
    url: {{ include "common.healthURL" (list . "office-converter") }}
  - name: AFS controller
    address: {{ include "common.serviceAddress" (list . "afs-controller") }}
  {{- if .Values.global.modules.sandbox.enabled }}
  - name: sandboxes
    url: {{ include "common.healthURL" (list . "sandbox") }}
  {{- end }}
  {{- if .Values.global.modules.browser.enabled }}
  - name: browsers
    url: {{ include "common.healthURL" (list . "browser") }}
  {{- if .Values.browser.coturn.enabled }}
  - name: relay
    address: {{ include "common.serviceAddress" (list . "coturn") }}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "neutree.test.env" -}}
{{ include "common.databaseEnv" . }}
{{ include "common.secretEnv" (list "ADMIN_USERNAME" (include "common.adminSecret" .) "username") }}
{{ include "common.secretEnv" (list "ADMIN_PASSWORD" (include "common.adminSecret" .) "password") }}
{{- end }}

{{/* While the test runs it reaches the services. Policies add up, and this one is gone with it. Takes an "app". */}}
{{- define "neutree.test.networkPolicy" -}}
{{- $ports := list -}}
{{- range (include "common.facts" . | fromJson).services }}
{{- with .port }}
{{- $ports = append $ports (toString .) }}
{{- end }}
{{- end -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "common.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      app.kubernetes.io/part-of: neutree
  policyTypes: [Ingress]
  ingress:
    - from:
        {{- include "common.peers" (list .root "test") | nindent 8 }}
      ports:
        {{- range $ports | uniq | sortAlpha }}
        - port: {{ . }}
        {{- end }}
{{- end }}
