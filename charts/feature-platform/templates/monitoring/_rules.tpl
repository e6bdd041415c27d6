{{/* The rules of one release, as in a rule file of Prometheus. */}}
{{- define "platform.rules" -}}
groups:
  {{- include "platform.rules.slo" . | nindent 2 }}
  {{- include "platform.rules.features" . | nindent 2 }}
  {{- include "platform.rules.materialization" . | nindent 2 }}
  {{- include "platform.rules.stores" . | nindent 2 }}
  {{- include "platform.rules.workloads" . | nindent 2 }}
{{- end }}

{{/* What selects the series of a component of this release alone: dict root, of. */}}
{{- define "platform.series" -}}
namespace="{{ .root.Release.Namespace }}", job="{{ include "platform.fullname" .root }}-{{ .of }}-metrics"
{{- end }}

{{/* Labels of an alert, and its annotations but for what follows: dict root, alert, severity, and optionally le. */}}
{{- define "platform.alert" -}}
labels:
  severity: {{ .severity }}
  namespace: {{ .root.Release.Namespace | quote }}
  release: {{ .root.Release.Name | quote }}
  {{- with .le }}
  le: {{ . | quote }}
  {{- end }}
annotations:
  runbook_url: {{ printf "%s/%s.md" (default "charts/feature-platform/runbooks" .root.Values.alerts.runbookUrl | trimSuffix "/") .alert | quote }}
{{- end }}

{{/* A duration as PromQL's numbers have it, in seconds: 36h is 129600. */}}
{{- define "platform.seconds" -}}
{{- $unit := regexFind "[smhdw]$" . -}}
{{- mul (trimSuffix $unit . | int) (get (dict "s" 1 "m" 60 "h" 3600 "d" 86400 "w" 604800) $unit) -}}
{{- end }}
