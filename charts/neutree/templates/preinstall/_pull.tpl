{{/* Containers of Deployments and the images they will have, as a YAML list. */}}
{{- define "neutree.pull.workloads" -}}
{{- $modules := .Values.global.modules -}}
{{- $workloads := list (list "cp" "control-plane" "controlPlane") (list "cg" "channel-gateway" "gateway")
  (list "skills" "skills-content-service" "skills") (list "scheduler" "scheduler" "scheduler")
  (list "env-runner-k8s" "env-runner-k8s" "envRunner")
  (list "office-converter" "gotenberg" "officeConverter") -}}
{{- if $modules.sandbox.enabled }}
{{- $workloads = append $workloads (list "sandbox" "sandbox" "sandboxService") }}
{{- end }}
{{- if $modules.browser.enabled }}
{{- $workloads = append $workloads (list "browser" "browser" "browserService") }}
{{- end }}
{{- range $workloads }}
- {deployment: {{ include "common.name" (list $ (index . 0)) }}, container: {{ index . 1 }}, image: {{ include "common.image" (list $ (index . 2)) | quote }}}
{{- end }}
- {deployment: afs-controller, container: afs-controller, image: {{ include "common.image" (list $ "afs") | quote }}}
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
      {{- include "common.podMetadata" (dict "app" $app "values" .Values.global.hooks) | nindent 6 }}
    spec:
      restartPolicy: Never
      # Wherever a service runs an image can be pulled, also on a node that is being drained.
      {{- include "common.pod" (dict "root" . "name" "default" "anywhere" true
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
            {{- toYaml .Values.global.hooks.resources | nindent 12 }}
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
