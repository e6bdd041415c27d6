{{/*
The service level objectives: ratios of bad requests over each window that an alert looks at, and how fast they use up
what the objective leaves. Multiwindow, multi-burn-rate alerts as in "The Site Reliability Workbook", chapter 5.
*/}}
{{- define "platform.rules.slo" -}}
{{- $name := include "platform.fullname" . -}}
{{- $gateway := include "platform.series" (dict "root" . "of" "gateway") -}}
{{- $requests := printf `%s, route!~"/livez|/readyz|/health"` $gateway -}}
{{- $reads := printf `%s, route="/features/{id}", method="GET"` $gateway -}}
{{- $burn := .Values.slo.burn -}}
{{- $speeds := list (dict "called" "Fast" "severity" "critical" "of" $burn.fast) (dict "called" "Slow" "severity" "warning" "of" $burn.slow) -}}
{{- $windows := list $burn.fast.longWindow $burn.fast.shortWindow $burn.slow.longWindow $burn.slow.shortWindow | uniq -}}
- name: {{ $name }}.slo
  rules:
    {{- range $window := $windows }}
    - record: namespace_job:feature_gateway_http_requests:error_ratio_rate{{ $window }}
      expr: |-
        (
          sum by (namespace, job) (rate(feature_gateway_http_requests_total{ {{- $requests }}, code=~"5.."}[{{ $window }}]))
          or
          0 * sum by (namespace, job) (rate(feature_gateway_http_requests_total{ {{- $requests -}} }[{{ $window }}]))
        )
        / (sum by (namespace, job) (rate(feature_gateway_http_requests_total{ {{- $requests -}} }[{{ $window }}])) > 0)
    {{- range $objective := $.Values.slo.latency }}
    - record: namespace_job:feature_gateway_http_request_duration_seconds:slow_ratio_rate{{ $window }}
      expr: |-
        1 - sum by (namespace, job) (rate(feature_gateway_http_request_duration_seconds_bucket{ {{- $reads }}, le="{{ .seconds }}"}[{{ $window }}]))
        / (sum by (namespace, job) (rate(feature_gateway_http_request_duration_seconds_count{ {{- $reads -}} }[{{ $window }}])) > 0)
      labels:
        le: {{ .seconds | quote }}
    {{- end }}
    {{- end }}
    {{- range $speed := $speeds }}
    {{- with .of }}
    - alert: AvailabilityBurn{{ $speed.called }}
      expr: |-
        namespace_job:feature_gateway_http_requests:error_ratio_rate{{ .longWindow }}{ {{- $gateway -}} } > {{ .factor }} * (100 - {{ $.Values.slo.availability.objective }}) / 100
        and
        namespace_job:feature_gateway_http_requests:error_ratio_rate{{ .shortWindow }}{ {{- $gateway -}} } > {{ .factor }} * (100 - {{ $.Values.slo.availability.objective }}) / 100
        and
        sum by (namespace, job) (increase(feature_gateway_http_requests_total{ {{- $requests }}, code=~"5.."}[{{ .longWindow }}])) >= {{ $burn.minimumBadRequests }}
      for: 0m
      {{- include "platform.alert" (dict "root" $ "alert" (printf "AvailabilityBurn%s" $speed.called) "severity" $speed.severity) | nindent 6 }}
        summary: {{ $name }} answers too many requests with 5xx.
        description: >-
          {{ `{{ $value | humanizePercentage }}` }} of the requests of the last {{ .longWindow }} were answered with 5xx, more than {{ .factor }}
          times what the objective of {{ $.Values.slo.availability.objective }} % allows.
    {{- range $objective := $.Values.slo.latency }}
    - alert: LatencyBurn{{ $speed.called }}
      expr: |-
        namespace_job:feature_gateway_http_request_duration_seconds:slow_ratio_rate{{ $speed.of.longWindow }}{ {{- $gateway }}, le="{{ .seconds }}"} > {{ $speed.of.factor }} * (100 - {{ .objective }}) / 100
        and
        namespace_job:feature_gateway_http_request_duration_seconds:slow_ratio_rate{{ $speed.of.shortWindow }}{ {{- $gateway }}, le="{{ .seconds }}"} > {{ $speed.of.factor }} * (100 - {{ .objective }}) / 100
        and on (namespace, job)
        sum by (namespace, job) (increase(feature_gateway_http_request_duration_seconds_count{ {{- $reads -}} }[{{ $speed.of.longWindow }}]))
        - sum by (namespace, job) (increase(feature_gateway_http_request_duration_seconds_bucket{ {{- $reads }}, le="{{ .seconds }}"}[{{ $speed.of.longWindow }}])) >= {{ $burn.minimumBadRequests }}
      for: 0m
      {{- include "platform.alert" (dict "root" $ "alert" (printf "LatencyBurn%s" $speed.called) "severity" $speed.severity "le" .seconds) | nindent 6 }}
        summary: {{ $name }} reads too slowly.
        description: >-
          {{ `{{ $value | humanizePercentage }}` }} of the single reads of the last {{ $speed.of.longWindow }} took longer than {{ .seconds }} s, more than
          {{ $speed.of.factor }} times what the objective of {{ .objective }} % allows.
    {{- end }}
    {{- end }}
    {{- end }}
{{- end }}
