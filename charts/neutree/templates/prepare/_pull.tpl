{{/* Containers of Deployments and the images they will have, as a YAML list. */}}
{{- define "neutree.pull.workloads" -}}
{{- $facts := include "common.facts" . | fromJson -}}
{{- range include "common.services" . | fromYamlArray }}
{{- $service := get $facts.services . }}
- {deployment: {{ include "common.serviceName" (list $ .) }}, container: {{ $service.container }}, image: {{ include "common.image" (list $ $service.image) | quote }}}
{{- end }}
{{- end }}

{{/*
A Job that pulls. Prepare gives it one container for each image that changes and one pod for each node that runs its
predecessor; nap-hooks, copied beside them, is all that they run.
*/}}
{{- define "neutree.pull.job" -}}
{{- $app := dict "root" $ "name" (include "common.name" (list $ "pull")) "component" "pull" -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $app.name }}
  labels:
    {{- include "common.labels" $app | nindent 4 }}
spec:
  ttlSecondsAfterFinished: 86400
  backoffLimit: 2
  activeDeadlineSeconds: {{ .Values.global.hooks.timeouts.pull }}
  template:
    metadata:
      {{- include "common.podMetadata" (dict "app" $app "values" .Values.global.hooks "noProxy" true) | nindent 6 }}
    spec:
      restartPolicy: Never
      # Wherever a service runs an image can be pulled, also on a node that is being drained.
      {{- include "common.pod" (dict "root" . "name" (include "neutree.prepare.jobsAccount" .) "anywhere" true
        "values" (dict "tolerations" (list (dict "operator" "Exists")))) | nindent 6 }}
      initContainers:
        {{- include "common.installHooks" . | nindent 8 }}
      containers:
        - name: image
          # Stands for those that change.
          image: {{ include "common.hooksImage" . }}
          {{- with include "common.imagePullPolicy" . }}{{ nindent 10 . }}{{ end }}
          command: [/neutree/nap-hooks]
          args: [--version]
          resources:
            {{- include "common.resources" .Values.global.hooks.resources | nindent 12 }}
          securityContext:
            {{- include "common.containerSecurityContext" . | nindent 12 }}
          volumeMounts:
            - name: neutree
              mountPath: /neutree
              readOnly: true
      volumes:
        - name: neutree
          emptyDir:
            sizeLimit: 128Mi
{{- end }}
