{{/* The pods that serve, and that somebody is told at all. */}}
{{- define "platform.rules.workloads" -}}
{{- $name := include "platform.fullname" . -}}
{{- $alerts := .Values.alerts -}}
{{- $autoscaler := printf `namespace="%s", horizontalpodautoscaler="%s-gateway"` .Release.Namespace $name -}}
- name: {{ $name }}.workloads
  rules:
    - alert: GatewayDown
      expr: absent(up{ {{- include "platform.series" (dict "root" . "of" "gateway") -}} } == 1)
      for: {{ $alerts.gatewayDown.for }}
      {{- include "platform.alert" (dict "root" . "alert" "GatewayDown" "severity" "critical") | nindent 6 }}
        summary: No gateway of {{ $name }} is up.
        description: >-
          No target of job {{ $name }}-gateway-metrics is up. Features are not served.
    - alert: FeatureServerDown
      expr: absent(up{ {{- include "platform.series" (dict "root" . "of" "feature-server") -}} } == 1)
      for: {{ $alerts.featureServerDown.for }}
      {{- include "platform.alert" (dict "root" . "alert" "FeatureServerDown" "severity" "warning") | nindent 6 }}
        summary: No feature server of {{ $name }} is up.
        description: >-
          Requests for on-demand features are answered with 503, and Feast clients get no answer.
    - alert: PodsRestarting
      expr: sum by (container) (increase(kube_pod_container_status_restarts_total{namespace={{ .Release.Namespace | quote }}, pod=~"{{ $name }}-(gateway|feature-server|postgres|redis)-.+"}[1h])) > 3
      for: 1m
      {{- include "platform.alert" (dict "root" . "alert" "PodsRestarting" "severity" "warning") | nindent 6 }}
        summary: Containers {{ `{{ $labels.container }}` }} of {{ $name }} restart again and again.
        description: >-
          Restarts in the last hour: {{ `{{ $value | humanize }}` }}.
    - alert: GatewayAutoscalerAtMaximum
      expr: |-
        max(
          kube_horizontalpodautoscaler_status_current_replicas{ {{- $autoscaler -}} }
          >= on (horizontalpodautoscaler) (
            kube_horizontalpodautoscaler_spec_max_replicas{ {{- $autoscaler -}} }
            > on (horizontalpodautoscaler) kube_horizontalpodautoscaler_spec_min_replicas{ {{- $autoscaler -}} }
          )
        )
      for: 15m
      {{- include "platform.alert" (dict "root" . "alert" "GatewayAutoscalerAtMaximum" "severity" "warning") | nindent 6 }}
        summary: {{ $name }} has as many gateways as it may have.
        description: >-
          Gateways: {{ `{{ $value }}` }}. More load makes them slower.
    # Always on: whoever does not get it knows that Prometheus or the way from it is broken.
    - alert: Watchdog
      expr: vector(1)
      for: 0m
      {{- include "platform.alert" (dict "root" . "alert" "Watchdog" "severity" "none") | nindent 6 }}
        summary: Alerts of {{ $name }} arrive.
        description: >-
          This alert is always on. That it does not arrive means that none does.
{{- end }}
