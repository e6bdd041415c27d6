{{/* What every pod says, whatever runs in it: dict root, values, uid. */}}
{{- define "platform.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
# The first question of a new pod may be lost while its network is still being made; five seconds are long to ask again.
dnsConfig:
  options:
    - {name: timeout, value: "1"}
    - {name: attempts, value: "5"}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .uid }}
  fsGroup: {{ .uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a pod: dict root, component, values, and optionally annotations. Values may turn scraping off. */}}
{{- define "platform.pod.metadata" -}}
labels:
  {{- include "platform.selector" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $scraping := include "platform.metrics.annotations" . | fromYaml -}}
{{- with merge (dict) (default (dict) .annotations) .values.podAnnotations $scraping }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container says. */}}
{{- define "platform.container.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The environment of our own image: dict root, values, and optionally postgres (a credential), redis (a credential), secrets. */}}
{{- define "platform.env" -}}
{{- $values := .root.Values -}}
- name: FEATURE_PLATFORM_PROJECT
  value: {{ $values.project | quote }}
{{- if include "platform.credentials" . }}
- name: FEATURE_PLATFORM_SECRETS_DIR
  value: /run/secrets/feature-platform
{{- end }}
{{- if .postgres }}
- name: PGHOST
  value: {{ ternary (printf "%s-postgres" (include "platform.fullname" .root)) $values.externalPostgres.host $values.postgres.enabled | quote }}
- name: PGPORT
  value: {{ ternary 5432 $values.externalPostgres.port $values.postgres.enabled | quote }}
- name: PGDATABASE
  value: {{ ternary "feature_platform" $values.externalPostgres.database $values.postgres.enabled | quote }}
{{- if not $values.postgres.enabled }}
- name: PGSSLMODE
  value: {{ $values.externalPostgres.sslMode | quote }}
{{- if $values.externalPostgres.caSecret.name }}
- name: PGSSLROOTCERT
  value: /run/secrets/postgres-ca/{{ $values.externalPostgres.caSecret.key }}
{{- end }}
{{- end }}
{{- end }}
{{- if .redis }}
- name: FEATURE_PLATFORM_REDIS_CONNECTION_STRING
  value: {{ include "platform.redis.connectionString" . | quote }}
- name: FEATURE_PLATFORM_REDIS_TYPE
  value: {{ ternary "redis" $values.externalRedis.type $values.redis.enabled | quote }}
{{- if not $values.redis.enabled }}
- name: FEATURE_PLATFORM_REDIS_SENTINEL_MASTER
  value: {{ $values.externalRedis.sentinelMaster | quote }}
{{- end }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Feast's connection string without credentials. Feast's own server would wait five seconds for a dead Redis; the gateway
waits one second for that server.
*/}}
{{- define "platform.redis.connectionString" -}}
{{- $external := .root.Values.externalRedis -}}
{{- if .root.Values.redis.enabled -}}
{{ include "platform.fullname" .root }}-redis:6379
{{- else -}}
{{ $external.connectionString }}
{{- if $external.tls.enabled }},ssl=true{{ end }}
{{- if $external.tls.caSecret.name }},ssl_ca_certs=/run/secrets/redis-ca/{{ $external.tls.caSecret.key }}{{ end }}
{{- end }}
{{- if eq (default "" .redis) "featureServer" }},socket_timeout=0.75,socket_connect_timeout=0.75,retry=null{{ end }}
{{- end }}

{{/* What a pod logs in with, as the files that the settings look for: the dict of platform.volumes. */}}
{{- define "platform.credentials" -}}
{{- if .postgres -}}
- secret:
    name: {{ include "platform.secret" (dict "root" .root "store" "postgres" "user" .postgres) | quote }}
    items:
      - {key: username, path: pguser}
      - {key: password, path: pgpassword}
{{ end -}}
{{- if and .redis (include "platform.redis.hasCredential" (dict "root" .root "user" .redis)) -}}
- secret:
    name: {{ include "platform.secret" (dict "root" .root "store" "redis" "user" .redis) | quote }}
    items:
      - {key: username, path: feature_platform_redis_username}
      - {key: password, path: feature_platform_redis_password}
{{ end -}}
{{- with .secrets }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* The volumes of our own image: dict root, values, and optionally postgres, redis, secrets (more projected sources). */}}
{{- define "platform.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with include "platform.credentials" . | trim }}
- name: credentials
  projected:
    defaultMode: 0440
    sources:
      {{- . | nindent 6 }}
{{- end }}
{{- if and .postgres (not .root.Values.postgres.enabled) .root.Values.externalPostgres.caSecret.name }}
- name: postgres-ca
  secret:
    secretName: {{ .root.Values.externalPostgres.caSecret.name | quote }}
    # That key alone: the authority's own key may stand beside it.
    items:
      - {key: {{ .root.Values.externalPostgres.caSecret.key | quote }}, path: {{ .root.Values.externalPostgres.caSecret.key | quote }}}
{{- end }}
{{- if and .redis (not .root.Values.redis.enabled) .root.Values.externalRedis.tls.caSecret.name }}
- name: redis-ca
  secret:
    secretName: {{ .root.Values.externalRedis.tls.caSecret.name | quote }}
    # That key alone: the authority's own key may stand beside it.
    items:
      - {key: {{ .root.Values.externalRedis.tls.caSecret.key | quote }}, path: {{ .root.Values.externalRedis.tls.caSecret.key | quote }}}
{{- end }}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "platform.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if include "platform.credentials" . }}
- name: credentials
  mountPath: /run/secrets/feature-platform
  readOnly: true
{{- end }}
{{- if and .postgres (not .root.Values.postgres.enabled) .root.Values.externalPostgres.caSecret.name }}
- name: postgres-ca
  mountPath: /run/secrets/postgres-ca
  readOnly: true
{{- end }}
{{- if and .redis (not .root.Values.redis.enabled) .root.Values.externalRedis.tls.caSecret.name }}
- name: redis-ca
  mountPath: /run/secrets/redis-ca
  readOnly: true
{{- end }}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An init container that waits for the stores: the dict of platform.env, and applied (also wait for `apply`). */}}
{{- define "platform.waitForStores" -}}
- name: wait-for-stores
  {{- include "platform.image" . | nindent 2 }}
  command: [python, -m, jobs.wait_for_stores{{ if .applied }}, --applied{{ end }}]
  env:
    - name: FEATURE_PLATFORM_TERMINATION_LOG
      value: /dev/termination-log
    {{- include "platform.env" . | nindent 4 }}
  resources:
    requests: {cpu: 20m, memory: 64Mi}
    limits: {cpu: "1", memory: 128Mi}
  {{- include "platform.container.security" . | nindent 2 }}
  volumeMounts:
    {{- include "platform.volumeMounts" . | nindent 4 }}
{{- end }}
