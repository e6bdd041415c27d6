{{/* How materializations went, as the online store tells of them; and of their schedule what the cluster alone knows. */}}
{{- define "platform.rules.materialization" -}}
{{- $name := include "platform.fullname" . -}}
{{- $gateway := include "platform.series" (dict "root" . "of" "gateway") -}}
{{- $cronjob := printf `namespace="%s", cronjob="%s-materialization"` .Release.Namespace $name -}}
{{- $alerts := .Values.alerts -}}
- name: {{ $name }}.materialization
  rules:
    - alert: MaterializationFailed
      expr: max(feature_materialization_last_run_exit_code{ {{- $gateway -}} }) != 0
      for: {{ $alerts.materializationFailed.for }}
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationFailed" "severity" "warning") | nindent 6 }}
        summary: The last materialization of {{ $name }} failed.
        description: >-
          It ended with exit code {{ `{{ $value }}` }}, and none has succeeded since. The features that were there are served on.
    # A gateway that came up on an emptied Redis has no plan, and therefore no views to tell of.
    - alert: MaterializationNeverSucceeded
      expr: |-
        count(max by (feature_view) (feature_materialization_last_success_timestamp_seconds{ {{- $gateway -}} }) == 0) > 0
        or
        0 * count(up{ {{- $gateway -}} } == 1) unless count(feature_materialization_last_success_timestamp_seconds{ {{- $gateway -}} })
      for: {{ $alerts.materializationNeverSucceeded.for }}
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationNeverSucceeded" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} has feature views without features.
        description: >-
          {{ `{{ if $value }}Feature views that the online store holds no materialization of: {{ $value }}.{{ else }}The gateways have found no serving plan.{{ end }}` }}
          What asks for them is answered with 503.
    - alert: MaterializationLate
      expr: time() - min(max by (feature_view) (feature_materialization_last_success_timestamp_seconds{ {{- $gateway -}} }) > 0) > {{ include "platform.seconds" $alerts.materializationLate.after }}
      for: 1m
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationLate" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} has not materialized for long.
        description: >-
          The last success was {{ `{{ $value | humanizeDuration }}` }} ago, longer than {{ $alerts.materializationLate.after }}.
    - alert: MaterializationWedged
      expr: time() - max(feature_materialization_unfinished_run_started_timestamp_seconds{ {{- $gateway -}} }) > {{ include "platform.seconds" $alerts.materializationWedged.after }}
      for: 1m
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationWedged" "severity" "warning") | nindent 6 }}
        summary: A materialization of {{ $name }} does not end.
        description: >-
          It began {{ `{{ $value | humanizeDuration }}` }} ago and has not told of its end: it hangs, or was killed.
    {{- if not .Values.materialization.suspend }}
    - alert: MaterializationSuspended
      expr: max(kube_cronjob_spec_suspend{ {{- $cronjob -}} }) == 1
      for: 1h
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationSuspended" "severity" "warning") | nindent 6 }}
        summary: The materialization of {{ $name }} is suspended.
        description: >-
          CronJob {{ $name }}-materialization is suspended, which the release's values do not say. Features grow old.
    {{- end }}
    # The namespace says that kube-state-metrics is there, and so would be the CronJob.
    - alert: MaterializationCronJobGone
      expr: |-
        count by (namespace) (kube_namespace_created{namespace={{ .Release.Namespace | quote }}})
        unless on (namespace)
        count by (namespace) (kube_cronjob_info{ {{- $cronjob -}} })
      for: 15m
      {{- include "platform.alert" (dict "root" . "alert" "MaterializationCronJobGone" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} has no schedule of materializations any more.
        description: >-
          There is no CronJob {{ $name }}-materialization in namespace {{ .Release.Namespace }}. Features grow old.
{{- end }}
