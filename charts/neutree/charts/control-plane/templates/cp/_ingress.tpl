{{/* Peers that call the control plane itself, as a YAML list. */}}
{{- define "controlPlane.cp.callers" -}}
{{ include "common.peers" (list . "cg" "skills" "scheduler" "env-runner-k8s") }}
{{- if .Values.global.modules.sandbox.enabled }}
{{ include "common.peers" (list . "sandbox") }}
{{- end }}
{{- if .Values.global.modules.browser.enabled }}
{{ include "common.peers" (list . "browser") }}
{{- end }}
{{- if .Values.global.upgrade.rebuildWorkspaces }}
{{ include "common.peers" (list . "rebuild") }}
{{- end }}
{{ include "common.workspacePeer" . }}
{{- if .Values.global.monitoring.enabled }}
{{ toYaml .Values.global.monitoring.from }}
{{- end }}
{{- end }}

{{/* Its port 9090, a profiler that asks nobody who they are, is open to no one. */}}
{{- define "controlPlane.cp.ingress" -}}
{{- $alone := include "common.frontAlone" . -}}
- ports:
    {{- if not $alone }}
    - port: http
    {{- end }}
    {{- if include "common.hasFront" . }}
    - port: {{ (include "common.facts" . | fromJson).front.portName }}
    {{- end }}
  {{- with .Values.global.networkPolicies.usersFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    {{- include "controlPlane.cp.callers" $ | trim | nindent 4 }}
  {{- end }}
{{- if $alone }}
# All paths are open on this port, and users come by the other.
- ports:
    - port: http
  from:
    {{- include "controlPlane.cp.callers" . | trim | nindent 4 }}
{{- end }}
{{- if eq .Values.global.exposure.type "ingress" }}
# Nothing listens there, and paths that are closed lead there: whoever asks for one is refused at once and need not wait.
- ports:
    - port: 9
{{- end }}
{{- end }}
