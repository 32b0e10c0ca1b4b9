{{/*
Spec of a Job that runs a command of nap-hooks, with its configuration at /spec/<command>.yaml. Takes a dict:
  root            $
  name, component for the labels, as in an "app"
  configMap       mounted at /spec
  serviceAccount  and automount, when the command needs the Kubernetes API
  command         the command of nap-hooks, and the container's name
  timeout         seconds that the command gives itself
  startSeconds    seconds that pulling images and starting may take in addition to that; finding a node too, where
                  nodeSeconds is not given
  nodeSeconds     seconds that a pod may wait for a node, such as one that an autoscaler adds, optional
  retries         how many more pods may be tried, 2 unless given
  tryAgain        list of exit codes after which another pod tries again until the Job's deadline, optional
  args            list of more arguments of the command, optional
  env             YAML list with the database's address, optional
  database        true for a command that finds the address itself
  image           optional: a service's image, into which init containers brought nap-hooks
  initContainers  YAML list, optional
  resources       optional
  labels          dict of more labels of the pod, optional
  user            uid, 1000 unless given
  placement       dict like global.hooks, which says where the pod runs unless this is given
  volumes, volumeMounts  YAML lists, optional
*/}}
{{- define "common.jobSpec" -}}
{{- $global := .root.Values.global -}}
{{- $images := list (.image | default "") -}}
{{- range .initContainers | default "[]" | fromYamlArray -}}
{{- $images = append $images .image -}}
{{- end -}}
backoffLimit: {{ hasKey . "retries" | ternary .retries 2 }}
# The command's own deadline comes first and leaves a message; this one deletes the pod, and is for pods that never start.
activeDeadlineSeconds: {{ add .timeout .startSeconds (.nodeSeconds | default 0) }}
podFailurePolicy:
  rules:
    # A pod that was evicted says nothing about the work.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    {{- with .tryAgain }}
    # What it gave way to will have ended by then.
    - action: Ignore
      onExitCodes:
        containerName: {{ $.command }}
        operator: In
        values: {{ toJson . }}
    {{- end }}
    # Exit codes that no retry would change: usage, refused, failed migration, backup first, half restored, deadline.
    - action: FailJob
      onExitCodes:
        containerName: {{ .command }}
        operator: In
        values: [2, 10, 11, 13, 14, 20]
template:
  metadata:
    {{- include "common.podMetadata" (dict "app" . "values" $global.hooks "labels" .labels "noProxy" true) | nindent 4 }}
  spec:
    # OnFailure would delete the pod, and its log, with the Job's last failure.
    restartPolicy: Never
    {{- if .nodeSeconds }}
    # Counted from when the pod has a node: one whose image can't be pulled ends sooner than one that waits for a node.
    activeDeadlineSeconds: {{ add .timeout .startSeconds }}
    {{- end }}
    {{- include "common.pod" (dict "root" .root "name" .serviceAccount "automount" .automount "values" (.placement | default $global.hooks) "user" (hasKey . "user" | ternary .user 1000) "images" $images) | nindent 4 }}
    {{- with .initContainers }}
    initContainers:
      {{- . | nindent 6 }}
    {{- end }}
    containers:
      - name: {{ .command }}
        image: {{ .image | default (include "common.hooksImage" .root) }}
        {{- with include "common.imagePullPolicy" .root }}{{ nindent 8 . }}{{ end }}
        {{- if .image }}
        command: [/neutree/nap-hooks]
        {{- end }}
        args:
          - {{ .command }}
          - --spec=/spec/{{ .command }}.yaml
          - --timeout={{ int .timeout }}s
          {{- with .args }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
        {{- if or .env $global.hooks.extraEnv }}
        env:
          {{- include "common.env" (dict "base" (.env | default "[]") "extra" $global.hooks.extraEnv) | nindent 10 }}
        {{- end }}
        # nap-hooks writes the cause there itself; the log serves when it could not.
        terminationMessagePolicy: FallbackToLogsOnError
        resources:
          {{- include "common.resources" (.resources | default $global.hooks.resources) | nindent 10 }}
        securityContext:
          {{- include "common.containerSecurityContext" . | nindent 10 }}
        volumeMounts:
          - name: spec
            mountPath: /spec
            readOnly: true
          {{- if .initContainers }}
          - name: neutree
            mountPath: /neutree
            readOnly: true
          {{- end }}
          {{- include "common.tmpMount" . | nindent 10 }}
          {{- with $global.hooks.extraVolumeMounts }}{{ toYaml . | nindent 10 }}{{ end }}
          {{- if or .env .database }}{{ with include "common.databaseMount" .root }}{{ nindent 10 . }}{{ end }}{{ end }}
          {{- with .volumeMounts }}{{ nindent 10 . }}{{ end }}
    volumes:
      - name: spec
        configMap:
          name: {{ .configMap }}
      {{- if .initContainers }}
      - name: neutree
        emptyDir:
          sizeLimit: 128Mi
      {{- end }}
      {{- include "common.tmpVolume" . | nindent 6 }}
      {{- with $global.hooks.extraVolumes }}{{ toYaml . | nindent 6 }}{{ end }}
      {{- if or .env .database }}{{ with include "common.databaseVolume" (list .root "hook") }}{{ nindent 6 . }}{{ end }}{{ end }}
      {{- with .volumes }}{{ nindent 6 . }}{{ end }}
{{- end }}

{{/* Init container that puts nap-hooks at /neutree/nap-hooks, for containers of images that do not have it. */}}
{{- define "common.installHooks" -}}
{{ include "common.hooksContainer" (dict "root" . "name" "install" "args" (list "install" "--to=/neutree")) }}
{{- end }}

{{/*
Init container that runs nap-hooks with /neutree to write to.
Usage: include "common.hooksContainer" (dict "root" $ "name" "install" "args" (list …) "image" <a service's, optional>)
*/}}
{{- define "common.hooksContainer" -}}
- name: {{ .name }}
  image: {{ .image | default (include "common.hooksImage" .root) }}
  {{- with include "common.imagePullPolicy" .root }}{{ nindent 2 . }}{{ end }}
  {{- if .image }}
  command: [/neutree/nap-hooks]
  {{- end }}
  args:
    {{- toYaml .args | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  resources:
    {{- include "common.resources" .root.Values.global.hooks.resources | nindent 4 }}
  securityContext:
    {{- include "common.containerSecurityContext" . | nindent 4 }}
  volumeMounts:
    - name: neutree
      mountPath: /neutree
{{- end }}
