{{/* Redis and Postgres: as the gateway sees them, as their exporters do where those are, and their volumes. */}}
{{- define "platform.rules.stores" -}}
{{- $name := include "platform.fullname" . -}}
{{- $gateway := include "platform.series" (dict "root" . "of" "gateway") -}}
{{- $redis := include "platform.series" (dict "root" . "of" "redis") -}}
{{- $volumes := printf `namespace="%s", persistentvolumeclaim=~"data-%s-(postgres|redis)-0|%s"` .Release.Namespace $name (include "platform.trainingSet.claim" .) -}}
{{- $alerts := .Values.alerts -}}
- name: {{ $name }}.stores
  rules:
    - alert: OnlineStoreUnreachable
      expr: count(feature_gateway_online_store_reachable{ {{- $gateway -}} } == 0) > 0
      for: {{ $alerts.onlineStoreUnreachable.for }}
      {{- include "platform.alert" (dict "root" . "alert" "OnlineStoreUnreachable" "severity" "critical") | nindent 6 }}
        summary: Gateways of {{ $name }} do not reach Redis.
        description: >-
          Gateways that get no answer of it: {{ `{{ $value }}` }}. They answer reads with 503.
    - alert: RedisMemoryHigh
      expr: max(redis_memory_used_bytes{ {{- $redis -}} } / (redis_memory_max_bytes{ {{- $redis -}} } > 0)) > 0.85
      for: 5m
      {{- include "platform.alert" (dict "root" . "alert" "RedisMemoryHigh" "severity" "warning") | nindent 6 }}
        summary: The Redis of {{ $name }} is almost full.
        description: >-
          It uses {{ `{{ $value | humanizePercentage }}` }} of its maxmemory. When it is full it refuses writes, and materializations fail.
    - alert: RedisEvictions
      expr: sum(increase(redis_evicted_keys_total{ {{- $redis -}} }[15m])) > 0
      for: 0m
      {{- include "platform.alert" (dict "root" . "alert" "RedisEvictions" "severity" "critical") | nindent 6 }}
        summary: The Redis of {{ $name }} drops features.
        description: >-
          Keys that were evicted in the last 15 minutes: {{ `{{ $value | humanize }}` }}. Their entities read as unknown.
    - alert: RedisPersistenceFailing
      expr: |-
        min(redis_aof_last_write_status{ {{- $redis -}} }) == 0
        or min(redis_aof_last_bgrewrite_status{ {{- $redis -}} }) == 0
        or min(redis_rdb_last_bgsave_status{ {{- $redis -}} }) == 0
      for: 5m
      {{- include "platform.alert" (dict "root" . "alert" "RedisPersistenceFailing" "severity" "warning") | nindent 6 }}
        summary: The Redis of {{ $name }} cannot write to its volume.
        description: >-
          Its last write, rewrite or save on disk failed. It may refuse writes, and a restart may lose what it holds.
    {{- if .Values.postgres.exporter.enabled }}
    - alert: PostgresDown
      expr: absent(pg_up{ {{- include "platform.series" (dict "root" . "of" "postgres") -}} } == 1)
      for: {{ $alerts.postgresDown.for }}
      {{- include "platform.alert" (dict "root" . "alert" "PostgresDown" "severity" "warning") | nindent 6 }}
        summary: The Postgres of {{ $name }} does not answer.
        description: >-
          Its exporter is gone, or gets no answer of it. Reads go on; no job can run.
    {{- end }}
    - alert: VolumeAlmostFull
      expr: 1 - max by (persistentvolumeclaim) (kubelet_volume_stats_available_bytes{ {{- $volumes -}} } / kubelet_volume_stats_capacity_bytes{ {{- $volumes -}} }) > 0.85
      for: 15m
      {{- include "platform.alert" (dict "root" . "alert" "VolumeAlmostFull" "severity" "warning") | nindent 6 }}
        summary: The volume {{ `{{ $labels.persistentvolumeclaim }}` }} is almost full.
        description: >-
          {{ `{{ $value | humanizePercentage }}` }} of {{ `{{ $labels.persistentvolumeclaim }}` }} are used.
{{- end }}
