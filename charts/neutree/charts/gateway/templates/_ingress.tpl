{{- define "gateway.ingress" -}}
- from:
    {{- include "common.peers" (list $ "cp" "scheduler") | nindent 4 }}
  ports:
    - port: http
{{- if and (include "common.routed" .) .Values.global.exposure.webhooks }}
# The controller that leads webhooks here: wherever it is, it is no workspace and no part of the platform.
- from:
    {{- with .Values.global.networkPolicies.usersFrom }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - namespaceSelector:
        matchExpressions:
          - key: kubernetes.io/metadata.name
            operator: NotIn
            values: [{{ list .Release.Namespace (include "common.workspaceNamespace" .) | uniq | join ", " }}]
    {{- end }}
  ports:
    - port: http
{{- end }}
{{- end }}
