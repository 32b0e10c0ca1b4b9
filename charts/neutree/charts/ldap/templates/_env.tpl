{{/* What the control plane is told of the directory. An empty variable would stand for an example's value. */}}
{{- define "ldap.env" -}}
{{- $ldap := .Values.global.ldap -}}
- name: LDAP_URL
  value: {{ include "common.literal" $ldap.url | quote }}
- name: LDAP_BIND_DN
  value: {{ include "common.literal" $ldap.bindDN | quote }}
{{ include "common.secretEnv" (list "LDAP_BIND_PASSWORD" $ldap.existingSecret $ldap.existingSecretKey) }}
- name: LDAP_SEARCH_BASE
  value: {{ include "common.literal" $ldap.searchBase | quote }}
- name: LDAP_SEARCH_FILTER
  value: {{ include "common.literal" $ldap.searchFilter | quote }}
- name: LDAP_ATTR_USERNAME
  value: {{ include "common.literal" $ldap.attributes.username | quote }}
- name: LDAP_ATTR_NAME
  value: {{ include "common.literal" $ldap.attributes.name | quote }}
- name: LDAP_ATTR_EMAIL
  value: {{ include "common.literal" $ldap.attributes.email | quote }}
{{- end }}
