{{/* The components that have metrics, each on a port named `metrics`; the stores by their exporters. */}}
{{- define "platform.metrics.components" -}}
gateway, feature-server
{{- if .Values.postgres.exporter.enabled }}, postgres{{ end }}
{{- if .Values.redis.exporter.enabled }}, redis{{ end }}
{{- end }}

{{/* The number of a component's port for metrics. */}}
{{- define "platform.metrics.port" -}}
{{- get (dict "gateway" 9090 "feature-server" 9090 "postgres" 9187 "redis" 9121) . -}}
{{- end }}

{{/* Annotations of a pod by which a Prometheus that goes by them finds its metrics: dict root, component. */}}
{{- define "platform.metrics.annotations" -}}
{{- $components := include "platform.metrics.components" .root | splitList ", " -}}
{{- if and (has .component $components) (not .root.Values.monitoring.serviceMonitor.enabled) }}
prometheus.io/scrape: "true"
prometheus.io/port: {{ include "platform.metrics.port" .component | quote }}
prometheus.io/path: /metrics
{{- end }}
{{- end }}

{{/* The sidecar that asks a store for its metrics: dict root, store, and env, args, mounts (YAML), path (alive). */}}
{{- define "platform.exporter" -}}
{{- $exporter := (index .root.Values .store).exporter -}}
- name: exporter
  {{- include "platform.image" (dict "root" .root "values" $exporter) | nindent 2 }}
  {{- with .args }}
  args:
    {{- . | nindent 4 }}
  {{- end }}
  env:
    {{- .env | nindent 4 }}
  ports:
    - name: metrics
      containerPort: {{ include "platform.metrics.port" .store }}
  livenessProbe:
    httpGet: {path: {{ .path }}, port: metrics}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources:
    {{- toYaml $exporter.resources | nindent 4 }}
  {{- include "platform.container.security" . | nindent 2 }}
  volumeMounts:
    {{- .mounts | nindent 4 }}
{{- end }}
