{{- define "platform.rules" -}}
groups:
  - name: feature-platform
    rules:
      - alert: Watchdog
        expr: vector(1)
{{- end }}
