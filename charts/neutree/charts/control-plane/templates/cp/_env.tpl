{{- define "controlPlane.cp.env" -}}
{{ include "common.secretEnv" (list "JWT_SECRET" (include "common.keysSecret" .) "JWT_SECRET") }}
{{ include "common.secretEnv" (list "CREDENTIAL_ENCRYPTION_KEY" (include "common.keysSecret" .) "CREDENTIAL_ENCRYPTION_KEY") }}
{{ include "common.secretEnv" (list "PLATFORM_SERVICE_KEY" (include "common.keysSecret" .) "PLATFORM_SERVICE_KEY") }}
{{- if .Values.global.upgrade.rebuildWorkspaces }}
{{ include "common.secretEnv" (list "PLUGIN_ADMIN_TOKEN" (include "common.pluginAdminSecret" .) "token") }}
{{- end }}
{{ include "common.workspaceEnv" . }}
- name: WEB_PUBLIC_URL
  value: {{ include "common.webURL" . | quote }}
{{- with include "common.filesURL" . }}
- name: FILES_PUBLIC_URL
  value: {{ . | quote }}
{{- end }}
- name: CG_URL
  value: {{ include "common.serviceURL" (list . "cg") }}
- name: SKILLS_CONTENT_URL
  value: {{ include "common.serviceURL" (list . "skills") }}
- name: OFFICE_CONVERTER_URL
  value: {{ include "common.serviceURL" (list . "office-converter") }}
- name: BROWSER_SERVICE_URL
  value: {{ include "common.serviceURL" (list . "browser") }}
- name: SANDBOX_SERVICE_URL
  value: {{ include "common.serviceURL" (list . "sandbox") }}
{{- if .Values.global.modules.sandbox.enabled }}
- name: SANDBOX_PUBLIC_URL
  value: {{ include "common.sandboxURL" . | quote }}
{{- end }}
{{- if .Values.global.modules.browser.enabled }}
- name: BROWSER_PUBLIC_URL
  value: {{ include "common.browserURL" . | quote }}
{{- end }}
{{- if .Values.global.modules.ldap.enabled }}
{{ include "ldap.env" . }}
{{- end }}
{{- end }}
