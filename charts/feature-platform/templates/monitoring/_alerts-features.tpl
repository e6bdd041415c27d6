{{/* What is served: how old it is, and whether it is there. All gateways tell the same of the online store. */}}
{{- define "platform.rules.features" -}}
{{- $name := include "platform.fullname" . -}}
{{- $gateway := include "platform.series" (dict "root" . "of" "gateway") -}}
{{- $alerts := .Values.alerts -}}
- name: {{ $name }}.features
  rules:
    {{- if eq .Values.freshnessReference "now" }}
    - alert: FeaturesTooOld
      expr: |-
        (time() - max by (feature_view) (feature_materialization_watermark_timestamp_seconds{ {{- $gateway -}} }))
        / max by (feature_view) (feature_materialization_ttl_seconds{ {{- $gateway -}} }) > {{ $alerts.featuresTooOld.share }}
      for: 1m
      {{- include "platform.alert" (dict "root" . "alert" "FeaturesTooOld" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} is about to serve nulls for {{ `{{ $labels.feature_view }}` }}.
        description: >-
          The age of {{ `{{ $labels.feature_view }}` }} is {{ `{{ $value | humanizePercentage }}` }} of its ttl. At 100 % its values turn null
          with status OUTSIDE_MAX_AGE.
    - alert: FeaturesExpired
      expr: |-
        time() - max by (feature_view) (feature_materialization_watermark_timestamp_seconds{ {{- $gateway -}} })
        - max by (feature_view) (feature_materialization_ttl_seconds{ {{- $gateway -}} }) > 0
      for: 1m
      {{- include "platform.alert" (dict "root" . "alert" "FeaturesExpired" "severity" "critical") | nindent 6 }}
        summary: {{ $name }} serves nulls for {{ `{{ $labels.feature_view }}` }}.
        description: >-
          Since {{ `{{ $value | humanizeDuration }}` }} every value of {{ `{{ $labels.feature_view }}` }} is older than its ttl: null, with status
          OUTSIDE_MAX_AGE.
    {{- end }}
    {{- with $alerts.featuresNotFound }}
    # An entity that no view knows, a 404, counts as not found in every view that was asked.
    - alert: FeaturesNotFound
      expr: |-
        sum by (feature_view) (rate(feature_gateway_feature_values_total{ {{- $gateway }}, status="NOT_FOUND"}[{{ .window }}]))
        / sum by (feature_view) (rate(feature_gateway_feature_values_total{ {{- $gateway -}} }[{{ .window }}])) > {{ .share }}
        and
        sum by (feature_view) (increase(feature_gateway_feature_values_total{ {{- $gateway }}, status="NOT_FOUND"}[{{ .window }}])) >= 100
      for: 1m
      {{- include "platform.alert" (dict "root" $ "alert" "FeaturesNotFound" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} does not find what callers ask of {{ `{{ $labels.feature_view }}` }}.
        description: >-
          {{ `{{ $value | humanizePercentage }}` }} of the values of {{ `{{ $labels.feature_view }}` }} that were asked for in the last {{ .window }} were
          NOT_FOUND, more than a share of {{ .share }}.
    {{- end }}
    - alert: MaterializationRowsSuspicious
      expr: |-
        abs(
          max by (feature_view) (feature_materialization_rows{ {{- $gateway -}} })
          / max by (feature_view) (feature_materialization_previous_rows{ {{- $gateway -}} }) - 1
        ) > {{ $alerts.materializationRowsSuspicious.share }}
      for: 1m
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationRowsSuspicious" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} has unlike numbers of rows of {{ `{{ $labels.feature_view }}` }} at two watermarks.
        description: >-
          The rows of {{ `{{ $labels.feature_view }}` }} differ by {{ `{{ $value | humanizePercentage }}` }} from those at the watermark before, by more
          than a share of {{ $alerts.materializationRowsSuspicious.share }}.
{{- end }}
