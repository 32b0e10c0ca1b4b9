{{/*
What the pods of all services have in common.
Usage: include "common.pod" (dict "root" $ "name" <ServiceAccount> "values" <the workload's values>
       "automount" <needs the Kubernetes API> "user" <uid, 1000 unless given> "anywhere" <global.scheduling does not hold>
       "images" <list of the images that it runs>)
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
{{- if not .anywhere }}
nodeSelector:
  {{- include "common.nodeSelector" (list .root (.values.nodeSelector | default $all.nodeSelector) .images) | nindent 2 }}
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
Node selector of a pod: the user's over that for the nodes which its images were published for.
Usage: include "common.nodeSelector" (list $ <the user's> <list of images>)
*/}}
{{- define "common.nodeSelector" -}}
{{- $selector := dict "kubernetes.io/os" "linux" -}}
{{- $images := index . 2 -}}
{{- range (include "common.facts" . | fromJson).amd64Only -}}
{{- $published := printf "/%s" . -}}
{{- range $images -}}
{{- if hasSuffix $published . -}}
{{- $_ := set $selector "kubernetes.io/arch" "amd64" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- merge (deepCopy (index . 1 | default dict)) $selector | toYaml }}
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
A value of the user's as that of a variable or an argument. Kubernetes, and nap-hooks in the seeds, would take "$(NAME)" in
it for another variable, such as one with a key, and "$$" for "$".
*/}}
{{- define "common.literal" -}}
{{ . | replace "$" "$$" }}
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
