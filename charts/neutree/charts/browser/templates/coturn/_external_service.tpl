{{/* Service of coturn for browsers outside the cluster. */}}
{{- define "browser.coturn.externalService" -}}
{{- $app := dict "root" $ "name" "coturn" "component" "coturn" -}}
# A Service of its own: the headless one can't be given an address later.
apiVersion: v1
kind: Service
metadata:
  name: coturn-external
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "common.labels" $app | nindent 4 }}
  {{- with .Values.coturn.serviceAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  selector:
    {{- include "common.selector" $app | nindent 4 }}
  ports:
    - name: turn
      port: {{ include "common.servicePort" (list . "coturn") }}
      targetPort: turn
{{- end }}
