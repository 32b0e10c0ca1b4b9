{{/*
What the pods of all services have in common.
Usage: include "common.pod" (dict "root" $ "name" <ServiceAccount> "values" <the workload's values>
       "automount" <needs the Kubernetes API> "user" <uid, 1000 unless given> "anywhere" <global.scheduling does not hold>)
*/}}
{{- define "common.pod" -}}
{{- $all := .anywhere | default false | ternary dict .root.Values.global.scheduling -}}
serviceAccountName: {{ .name }}
automountServiceAccountToken: {{ .automount | default false }}
# The variables that Kubernetes would add for every Service could be taken for settings.
enableServiceLinks: false
securityContext:
  {{- include "common.podSecurityContext" (list .root (hasKey . "user" | ternary .user 1000)) | nindent 2 }}
{{- with include "common.imagePullSecrets" .root }}{{ nindent 0 . }}{{ end }}
{{- with .values.nodeSelector | default $all.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations | default $all.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName | default $all.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Environment of a container: the chart's own, and the user's extraEnv, which wins where both name a variable
(a list that names one twice is refused by server-side apply).
Usage: include "common.env" (dict "base" <YAML list> "extra" .Values.cp.extraEnv)
*/}}
{{- define "common.env" -}}
{{- $extra := .extra | default list }}
{{- $overridden := list }}
{{- range $extra }}
{{- $overridden = append $overridden .name }}
{{- end }}
{{- $env := list }}
{{- range fromYamlArray .base }}
{{- if not (has .name $overridden) }}
{{- $env = append $env . }}
{{- end }}
{{- end }}
{{- concat $env $extra | toYaml }}
{{- end }}

{{/*
A variable that comes from a Secret.
Usage: include "common.secretEnv" (list "JWT_SECRET" <Secret> "JWT_SECRET")
*/}}
{{- define "common.secretEnv" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ index . 1 | quote }}
      key: {{ index . 2 | quote }}
{{- end }}

{{/* ServiceAccount of a service. Usage: include "common.serviceAccount" $app */}}
{{- define "common.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "common.metadata" . | nindent 2 }}
# Pods that need the Kubernetes API say so themselves.
automountServiceAccountToken: false
{{- end }}
