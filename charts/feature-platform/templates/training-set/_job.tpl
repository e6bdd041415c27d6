{{- define "platform.trainingSet.claim" -}}
{{- default (printf "%s-training-sets" (include "platform.fullname" .)) .Values.trainingSet.persistence.existingClaim -}}
{{- end }}

{{/* Whether sets go to a volume and not to a URL. */}}
{{- define "platform.trainingSet.onVolume" -}}
{{- if not .Values.trainingSet.outputUrl }}yes{{ end -}}
{{- end }}

{{- define "platform.trainingSet.volumes" -}}
- name: training-sets
  persistentVolumeClaim:
    claimName: {{ include "platform.trainingSet.claim" . | quote }}
{{- end }}

{{- define "platform.trainingSet.mounts" -}}
- name: training-sets
  mountPath: /training-sets
{{- end }}

{{- define "platform.trainingSet.env" -}}
- name: JOB_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['batch.kubernetes.io/job-name']
# The repository's feature_store.yaml names Redis; a training set never asks it, and has no user there.
- name: FEATURE_PLATFORM_REDIS_CONNECTION_STRING
  value: {{ include "platform.redis.connectionString" (dict "root" . "redis" "") | quote }}
- name: FEATURE_PLATFORM_REDIS_TYPE
  value: {{ ternary "redis" .Values.externalRedis.type .Values.redis.enabled | quote }}
{{- end }}

{{/* Completes the dict of platform.job for a training set: dict root, and optionally start and end of its window. */}}
{{- define "platform.trainingSet.complete" -}}
{{- $root := .root -}}
{{- $values := $root.Values.trainingSet -}}
{{- $output := default "/training-sets" $values.outputUrl | trimSuffix "/" -}}
{{- $command := list "python" "-m" "jobs.training_set" (printf "--output=%s/$(JOB_NAME)" $output) (printf "--label-horizon=%s" $values.labelHorizon) -}}
{{- with $values.featureService }}{{ $command = append $command (printf "--feature-service=%s" .) }}{{ end -}}
{{- with .start }}{{ $command = append $command (printf "--start=%s" .) }}{{ end -}}
{{- with .end }}{{ $command = append $command (printf "--end=%s" .) }}{{ end -}}
{{- $_ := merge . (dict "component" "training-set" "name" "training-set" "values" $values "postgres" "trainingSet" "applied" true) -}}
{{- $_ := set . "command" $command -}}
{{- $_ := set . "env" (include "platform.trainingSet.env" $root) -}}
{{- if include "platform.trainingSet.onVolume" $root -}}
{{- $_ := set . "volumes" (include "platform.trainingSet.volumes" $root) -}}
{{- $_ := set . "mounts" (include "platform.trainingSet.mounts" $root) -}}
{{- end -}}
{{- end }}
