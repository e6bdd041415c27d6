{{/* Pods of some components of this release: dict root, components (a list). */}}
{{- define "platform.peers" -}}
podSelector:
  matchLabels:
    app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
    app.kubernetes.io/instance: {{ .root.Release.Name }}
  matchExpressions:
    - key: app.kubernetes.io/component
      operator: In
      values: [{{ join ", " .components }}]
{{- end }}

{{/* Who reads metrics. */}}
{{- define "platform.metrics.readers" -}}
{{- with .Values.networkPolicy.metricsFrom }}
{{- toYaml . }}
{{- else }}
- namespaceSelector: {}
{{- end }}
{{- end }}

{{/* Who asks Postgres, and who asks Redis. */}}
{{- define "platform.postgres.clients" -}}
apply, feature-server, ingest, materialization, ray-worker, sample-data, test, training-set
{{- end }}
{{- define "platform.redis.clients" -}}
apply, feature-server, gateway, materialization, ray-worker
{{- end }}
