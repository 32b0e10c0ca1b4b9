{{/* Service that leads to a port on which nothing listens. */}}
{{- define "neutree.closedService.service" -}}
{{- $app := dict "root" $ "name" (include "neutree.closedService" .) "component" "exposure" -}}
# An Ingress can't refuse a path, only lead it somewhere: here to a port of the control plane on which nothing listens.
# It has endpoints exactly when the control plane has. A Service that has none some controllers take for no rule at all,
# and the request would go to the next one.
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
spec:
  selector:
    app: {{ include "common.name" (list . "cp") }}
  ports:
    - name: discard
      port: 80
      targetPort: 9
{{- end }}
