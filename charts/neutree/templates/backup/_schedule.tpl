{{/*
Backups on a schedule: a CronJob with the Job that also makes a backup by hand. Its pods have no rights in the cluster.
They see an upgrade that is at work in the database, and a restore that has not ended by its note.
*/}}

{{/* Not empty when there is a schedule. */}}
{{- define "neutree.backup.scheduled" -}}
{{- if and .Values.global.backup.enabled .Values.global.backup.schedule }}yes{{ end }}
{{- end }}

{{/* Name of the CronJob. */}}
{{- define "neutree.backup.cronJob" -}}
{{ include "common.name" (list . "scheduled-backup") }}
{{- end }}

{{/*
The Job of the schedule. Unlike one that a person starts it has no one to choose a name, and waits for what it gives way
to: exit code 12.
*/}}
{{- define "neutree.backup.scheduledJob" -}}
{{- $app := include "neutree.backup.app" . -}}
{{ include "neutree.backup.job" (dict "root" . "configMap" $app "serviceAccount" $app "job" "scheduled-backup"
  "args" (list "scheduled" "--job=$(JOB_NAME)") "tryAgain" (list 12)
  "env" (printf "%s\n%s\n%s" (include "common.databaseEnv" .) (include "neutree.backup.scheduledEnv" .) (include "neutree.copies.env" .) | trim)
  "initContainers" (include "common.installHooks" .)
  "mounts" (printf "%s\n%s" (include "neutree.backup.noteMount" .) (include "neutree.copies.mounts" .) | trim)
  "volumes" (printf "%s\n%s" (include "neutree.backup.noteVolume" .) (include "neutree.copies.volumes" .) | trim)) }}
{{- end }}

{{/* All pods of a Job make one backup. */}}
{{- define "neutree.backup.scheduledEnv" -}}
- name: JOB_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['batch.kubernetes.io/job-name']
- name: RESTORE_NOTE
  value: /restore
{{- end }}

{{- define "neutree.backup.noteMount" -}}
- name: restore
  mountPath: /restore
  readOnly: true
{{- end }}

{{/* It is there while a restore has not ended. */}}
{{- define "neutree.backup.noteVolume" -}}
- name: restore
  configMap:
    name: {{ include "neutree.restoreNote" . }}
    optional: true
{{- end }}

{{/*
Hours after which a schedule counts as overdue that has no successful backup, unless the values say: the longest time
between two of its backups, and some hours more.
*/}}
{{- define "neutree.backup.overdueHours" -}}
{{- $schedule := trim .Values.global.backup.schedule -}}
{{- /* One with fewer fields is refused elsewhere. */ -}}
{{- $fields := concat (regexSplit `\s+` $schedule -1) (list "*" "*" "*" "*") -}}
{{- if .Values.global.monitoring.alerts.backupHours -}}
{{ .Values.global.monitoring.alerts.backupHours }}
{{- else if hasPrefix "@" $schedule -}}
{{- $hours := dict "@hourly" 3 "@weekly" 170 "@monthly" 750 "@yearly" 8790 "@annually" 8790 -}}
{{- get $hours $schedule | default 26 }}
{{- else if has (index $fields 3) (list "*" "?" "*/1") | not -}}
8790
{{- else if regexMatch `^[*]/[0-9]+$` (index $fields 2) -}}
{{- /* Each few days; the first of a month begins the count again. */ -}}
{{ add 26 (mul 24 (trimPrefix "*/" (index $fields 2) | int)) }}
{{- else if has (index $fields 2) (list "*" "?") | not -}}
750
{{- else if has (upper (index $fields 4)) (list "1-5" "MON-FRI") -}}
74
{{- else if has (index $fields 4) (list "*" "?" "*/1") | not -}}
170
{{- else -}}
26
{{- end }}
{{- end }}

{{/* What is wrong with the schedule, as a YAML list of sentences. */}}
{{- define "neutree.validate.schedule" -}}
{{- $backup := .Values.global.backup -}}
{{- $problems := list -}}
{{- if $backup.schedule }}
{{- with include "neutree.validate.cron" (trim $backup.schedule) }}
{{- $problems = append $problems (printf "global.backup.schedule %q is no schedule of a CronJob: %s; write minute, hour, day of month, month and day of week, such as \"30 2 * * *\" for each night at half past two" $backup.schedule .) }}
{{- end }}
{{- if not $backup.enabled }}
{{- $problems = append $problems (printf "global.backup.schedule is %q, and global.backup.enabled=false turns all backups off: set enabled to true, or the schedule to nothing" $backup.schedule) }}
{{- end }}
{{- end }}
{{- if and $backup.timeZone (or (eq $backup.timeZone "Local") (not (regexMatch `^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$` $backup.timeZone))) }}
{{- $problems = append $problems (printf "global.backup.timeZone %q is no name of the time zone database: use one such as Europe/Berlin or Etc/UTC" $backup.timeZone) }}
{{- end }}
{{- $problems | toYaml }}
{{- end }}

{{/*
What is wrong with a schedule in a few words, empty for nothing. Usage: include "neutree.validate.cron" <schedule>
*/}}
{{- define "neutree.validate.cron" -}}
{{- $fields := regexSplit `\s+` . -1 -}}
{{- $months := dict "JAN" 1 "FEB" 2 "MAR" 3 "APR" 4 "MAY" 5 "JUN" 6
  "JUL" 7 "AUG" 8 "SEP" 9 "OCT" 10 "NOV" 11 "DEC" 12 -}}
{{- $days := dict "SUN" 0 "MON" 1 "TUE" 2 "WED" 3 "THU" 4 "FRI" 5 "SAT" 6 -}}
{{- if hasPrefix "@" . -}}
{{- if not (has . (list "@hourly" "@daily" "@midnight" "@weekly" "@monthly" "@yearly" "@annually")) -}}
{{ printf "%s is none of @hourly, @daily, @weekly, @monthly and @yearly" . }}
{{- end -}}
{{- else if ne (len $fields) 5 -}}
{{ printf "it has %d fields, and a schedule has 5" (len $fields) }}
{{- else -}}
{{- $found := list -}}
{{- range $i, $field := list
  (dict "name" "minute" "least" 0 "most" 59 "names" dict)
  (dict "name" "hour" "least" 0 "most" 23 "names" dict)
  (dict "name" "day of month" "least" 1 "most" 31 "names" dict)
  (dict "name" "month" "least" 1 "most" 12 "names" $months)
  (dict "name" "day of week" "least" 0 "most" 6 "names" $days) }}
{{- range splitList "," (index $fields $i) }}
{{- with include "neutree.validate.cronItem" (merge (dict "item" .) $field) }}
{{- $found = append $found . }}
{{- end }}
{{- end }}
{{- end -}}
{{- first $found | default "" }}
{{- end -}}
{{- end }}

{{/*
What is wrong with one item of a field. Takes a dict with the item, the name of the field, the least and the most of its
numbers, and the names that stand for numbers.
*/}}
{{- define "neutree.validate.cronItem" -}}
{{- $names := .names -}}
{{- $one := "([0-9]{1,2}|[A-Za-z]{3})" -}}
{{- if not (regexMatch (printf `^([*?]|%s(-%s)?)(/0*[1-9][0-9]{0,3})?$` $one $one) .item) -}}
{{ printf "%q is no %s" .item .name }}
{{- else if not (regexMatch `^[*?]` .item) -}}
{{- $numbers := list -}}
{{- range splitList "-" (splitList "/" .item | first) }}
{{- if regexMatch `^[0-9]` . }}
{{- $numbers = append $numbers (regexReplaceAll `^0+([0-9])` . "${1}" | int) }}
{{- else }}
{{- $numbers = append $numbers (hasKey $names (upper .) | ternary (get $names (upper .)) -1) }}
{{- end }}
{{- end -}}
{{- $from := first $numbers | int -}}
{{- $to := last $numbers | int -}}
{{- if or (lt $from (int .least)) (gt $to (int .most)) (gt $from (int .most)) (lt $to (int .least)) -}}
{{ printf "%q is no %s, which is from %d to %d" .item .name (int .least) (int .most) }}
{{- else if gt $from $to -}}
{{ printf "%q is no %s: it begins after its end" .item .name }}
{{- end -}}
{{- end -}}
{{- end }}
