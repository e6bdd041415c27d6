{{/*
The specification of a Job that runs our image once: dict root, component, values, command; and optionally postgres,
redis (credentials), applied, initContainers, env, volumes, mounts (more of each, as YAML), secrets.
Exits 2 (wrong usage) and 3 (bad data) are final: the same again would fail the same way. A pod that the cluster takes
away does not count as a try.
*/}}
{{- define "platform.job" -}}
backoffLimit: {{ .values.backoffLimit }}
activeDeadlineSeconds: {{ .values.activeDeadlineSeconds }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes:
        containerName: {{ .component }}
        operator: In
        values: [2, 3]
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
template:
  metadata:
    {{- include "platform.pod.metadata" . | nindent 4 }}
  spec:
    restartPolicy: Never
    {{- include "platform.pod" (dict "root" .root "values" .values "uid" 10001) | nindent 4 }}
    {{- if or .postgres .initContainers }}
    initContainers:
      {{- with .initContainers }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- if .postgres }}
      {{- include "platform.waitForStores" . | nindent 6 }}
      {{- end }}
    {{- end }}
    containers:
      - name: {{ .component }}
        {{- include "platform.image" . | nindent 8 }}
        command:
          {{- toYaml .command | nindent 10 }}
        env:
          - name: FEATURE_PLATFORM_TERMINATION_LOG
            value: /dev/termination-log
          {{- with .env }}
          {{- . | nindent 10 }}
          {{- end }}
          {{- include "platform.env" . | nindent 10 }}
        resources:
          {{- toYaml .values.resources | nindent 10 }}
        {{- include "platform.container.security" . | nindent 8 }}
        volumeMounts:
          {{- include "platform.volumeMounts" . | nindent 10 }}
          {{- with .mounts }}
          {{- . | nindent 10 }}
          {{- end }}
    volumes:
      {{- include "platform.volumes" . | nindent 6 }}
      {{- with .volumes }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end }}

{{/* A whole Job object whose name carries a hash of what Kubernetes does not let change in it: the pod and its policy. */}}
{{- define "platform.hashedJob" -}}
{{- $spec := include "platform.job" . -}}
{{- $hash := pick (fromYaml $spec) "template" "podFailurePolicy" | toYaml | sha256sum -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "platform.metadata" (dict "root" .root "component" .component "name" (printf "%s-%s" (default .component .name) ($hash | trunc 8))) | nindent 2 }}
spec:
  {{- $spec | nindent 2 }}
{{- end }}
