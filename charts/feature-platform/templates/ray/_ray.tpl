{{/* The Ray cluster that the materialization works on; empty if it works in its own pod. */}}
{{- define "platform.ray.address" -}}
{{- if .Values.ray.enabled }}ray://{{ include "platform.fullname" . }}-ray-head:10001{{ else }}{{ .Values.ray.address }}{{ end -}}
{{- end }}

{{/*
The template of a Ray node's pods: dict root, component, values, command (the beginning of `ray start`), ports (more of
them, as YAML), ready (a probe), alive (the port of a server that says over gRPC how it is); and optionally postgres,
redis (credentials).
*/}}
{{- define "platform.ray.pod" -}}
metadata:
  {{- include "platform.pod.metadata" . | nindent 2 }}
spec:
  {{- include "platform.pod" (dict "root" .root "values" .values "uid" 10001) | nindent 2 }}
  containers:
    - name: {{ .component }}
      {{- include "platform.image" . | nindent 6 }}
      command:
        {{- toYaml .command | nindent 8 }}
        # Ports that network policies can name, these and the head's 6379.
        - --node-manager-port=6380
        - --object-manager-port=6381
        - --min-worker-port=6400
        - --max-worker-port=6499
        # What tasks are asked and answer is small; it lies in /dev/shm.
        - --object-store-memory=100000000
        - --block
      env:
        - name: RAY_USAGE_STATS_ENABLED
          value: "0"
        {{- include "platform.env" . | nindent 8 }}
      ports:
        {{- with .ports }}
        {{- . | nindent 8 }}
        {{- end }}
        - name: node-manager
          containerPort: 6380
        - name: object-manager
          containerPort: 6381
      startupProbe:
        {{- toYaml .ready | nindent 8 }}
        periodSeconds: 1
        timeoutSeconds: 5
        failureThreshold: 120
      readinessProbe:
        {{- toYaml .ready | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 5
      livenessProbe:
        grpc: {port: {{ .alive }}}
        periodSeconds: 10
        timeoutSeconds: 10
        failureThreshold: 6
      resources:
        {{- toYaml .values.resources | nindent 8 }}
      {{- include "platform.container.security" . | nindent 6 }}
      volumeMounts:
        - name: shared-memory
          mountPath: /dev/shm
        {{- include "platform.volumeMounts" . | nindent 8 }}
  volumes:
    - name: shared-memory
      emptyDir: {medium: Memory, sizeLimit: 128Mi}
    {{- include "platform.volumes" . | nindent 4 }}
{{- end }}
