{{/* Service of coturn inside the cluster. */}}
{{- define "browser.coturn.service" -}}
{{- $app := dict "root" $ "name" "coturn" "component" "coturn" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "common.metadata" $app | nindent 2 }}
spec:
  clusterIP: None
  selector:
    {{- include "common.selector" $app | nindent 4 }}
  ports:
    - name: turn
      port: {{ include "common.servicePort" (list . "coturn") }}
      targetPort: turn
{{- end }}
