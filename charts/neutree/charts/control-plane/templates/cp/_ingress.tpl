{{/* Its port 9090, a profiler that asks nobody who they are, is open to no one. */}}
{{- define "controlPlane.cp.ingress" -}}
- ports:
    - port: http
    {{- if include "common.hasFront" . }}
    - port: {{ (include "common.facts" . | fromJson).front.portName }}
    {{- end }}
  {{- with .Values.global.networkPolicies.usersFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    {{- include "common.peers" (list $ "cg" "skills" "scheduler" "env-runner-k8s") | nindent 4 }}
    {{- if $.Values.global.modules.sandbox.enabled }}
    {{- include "common.peers" (list $ "sandbox") | nindent 4 }}
    {{- end }}
    {{- if $.Values.global.modules.browser.enabled }}
    {{- include "common.peers" (list $ "browser") | nindent 4 }}
    {{- end }}
    {{- if $.Values.global.upgrade.rebuildWorkspaces }}
    {{- include "common.peers" (list $ "rebuild") | nindent 4 }}
    {{- end }}
    {{- include "common.workspacePeer" $ | nindent 4 }}
    {{- if $.Values.global.monitoring.enabled }}
    {{- toYaml $.Values.global.monitoring.from | nindent 4 }}
    {{- end }}
  {{- end }}
{{- if eq .Values.global.exposure.type "ingress" }}
# Nothing listens there, and paths that are closed lead there: whoever asks for one is refused at once and need not wait.
- ports:
    - port: 9
{{- end }}
{{- end }}
