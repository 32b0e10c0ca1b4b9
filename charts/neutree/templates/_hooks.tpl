{{/*
Annotations of an object that one phase of an install or upgrade brings along. Weights within a phase are distinct,
since equal ones are sorted by name. Helm heeds those of a List and creates its items in their order; who syncs the
items one by one, as ArgoCD does, heeds theirs.
Usage: include "neutree.hook" (list "pre-install,pre-upgrade" -50)
*/}}
{{- define "neutree.hook" -}}
helm.sh/hook: {{ index . 0 }}
helm.sh/hook-weight: {{ index . 1 | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
