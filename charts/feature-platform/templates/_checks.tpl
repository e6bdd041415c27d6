{{/* Combinations that cannot work, each with a sentence that says what to change. Everything wrong is said at once. */}}
{{- define "platform.checks" -}}
{{- $v := .Values -}}
{{- $wrong := list -}}
{{- if and $v.ingress.enabled $v.httpRoute.enabled -}}
{{- $wrong = append $wrong "ingress.enabled and httpRoute.enabled are both true; the gateway is published one way: set one of them to false." -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- $wrong = append $wrong "httpRoute.enabled needs httpRoute.parentRefs: name the Gateway, as in parentRefs: [{name: traefik, namespace: ingress}]." -}}
{{- end -}}
{{- if and $v.postgres.enabled $v.externalPostgres.host -}}
{{- $wrong = append $wrong "externalPostgres.host is set and the bundled Postgres is on; set postgres.enabled to false to use the external one." -}}
{{- end -}}
{{- if not (or $v.postgres.enabled $v.externalPostgres.host) -}}
{{- $wrong = append $wrong "postgres.enabled is false and no other Postgres is named; set externalPostgres.host." -}}
{{- end -}}
{{- $owner := $v.credentials.postgres.owner -}}
{{- if not (or $v.postgres.enabled $owner.existingSecret $owner.password) -}}
{{- $wrong = append $wrong "An external Postgres needs its owner's login: set credentials.postgres.owner.existingSecret to a Secret with the keys username and password." -}}
{{- end -}}
{{- if and $v.redis.enabled $v.externalRedis.connectionString -}}
{{- $wrong = append $wrong "externalRedis.connectionString is set and the bundled Redis is on; set redis.enabled to false to use the external one." -}}
{{- end -}}
{{- if not (or $v.redis.enabled $v.externalRedis.connectionString) -}}
{{- $wrong = append $wrong "redis.enabled is false and no other Redis is named; set externalRedis.connectionString, as in redis.example:6379." -}}
{{- end -}}
{{- if and $v.externalRedis.tls.caSecret.name (not $v.externalRedis.tls.enabled) -}}
{{- $wrong = append $wrong "externalRedis.tls.caSecret is set and externalRedis.tls.enabled is false; set it to true." -}}
{{- end -}}
{{- if and $v.postgres.exporter.enabled (not $v.postgres.enabled) -}}
{{- $wrong = append $wrong "postgres.exporter.enabled is true and the bundled Postgres is off; an external Postgres has an exporter of its own: set postgres.exporter.enabled to false." -}}
{{- end -}}
{{- if and $v.redis.exporter.enabled (not $v.redis.enabled) -}}
{{- $wrong = append $wrong "redis.exporter.enabled is true and the bundled Redis is off; an external Redis has an exporter of its own: set redis.exporter.enabled to false." -}}
{{- end -}}
{{- if regexMatch "['\\\\]" $v.credentials.postgres.exporter.password -}}
{{- $wrong = append $wrong "credentials.postgres.exporter.password holds ' or \\, where postgres_exporter takes it apart and shows the rest in its log; use letters and digits." -}}
{{- end -}}
{{- range $store, $users := $v.credentials -}}
{{- range $user, $credential := $users -}}
{{- if and $credential.existingSecret $credential.password -}}
{{- $wrong = append $wrong (printf "credentials.%s.%s has both existingSecret and password; the password is in the Secret: leave the other out." $store $user) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.gateway.apiKeys.existingSecret $v.gateway.apiKeys.hashes -}}
{{- $wrong = append $wrong "gateway.apiKeys has both existingSecret and hashes; keep one." -}}
{{- end -}}
{{- with $v.gateway.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- $wrong = append $wrong (printf "gateway.autoscaling.minReplicas %v is more than maxReplicas %v." .minReplicas .maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- if le (int $v.gateway.terminationGracePeriodSeconds) (add (int $v.gateway.preStopSeconds) 10 | int) -}}
{{- $wrong = append $wrong (printf "gateway.terminationGracePeriodSeconds %v is too short: after gateway.preStopSeconds %v the gateway takes up to 10 s to finish its requests; set it to at least %v." $v.gateway.terminationGracePeriodSeconds $v.gateway.preStopSeconds (add (int $v.gateway.preStopSeconds) 11)) -}}
{{- end -}}
{{- if and $v.ray.enabled $v.ray.address -}}
{{- $wrong = append $wrong "ray.address is set and the release's own Ray cluster is on; set ray.enabled to false to use the other one." -}}
{{- end -}}
{{- with $v.trainingSet -}}
{{- if ne (empty .start) (empty .end) -}}
{{- $wrong = append $wrong "trainingSet names one end of a window; set both start and end, or neither." -}}
{{- end -}}
{{- if and .outputUrl .persistence.existingClaim -}}
{{- $wrong = append $wrong "trainingSet has both outputUrl and persistence.existingClaim; training sets go to one place: keep one." -}}
{{- end -}}
{{- end -}}
{{- with $v.ingest -}}
{{- if and .enabled (not .existingClaim) -}}
{{- $wrong = append $wrong "ingest.enabled needs ingest.existingClaim, the PersistentVolumeClaim that holds the exports." -}}
{{- end -}}
{{- if and .enabled .schedule .asOf -}}
{{- $wrong = append $wrong "ingest has both schedule and asOf; on a schedule every export in the volume is taken: leave asOf out." -}}
{{- end -}}
{{- if and .enabled .deliveredAt (not .asOf) -}}
{{- $wrong = append $wrong "ingest.deliveredAt belongs to one export; set ingest.asOf too." -}}
{{- end -}}
{{- end -}}
{{- with $v.slo -}}
{{- if ge .latency.typical.seconds .latency.tail.seconds -}}
{{- $wrong = append $wrong (printf "slo.latency.typical.seconds %v is not less than slo.latency.tail.seconds %v; the tail is what takes longer." .latency.typical.seconds .latency.tail.seconds) -}}
{{- end -}}
{{- $objectives := dict "availability" .availability.objective "latency.typical" .latency.typical.objective "latency.tail" .latency.tail.objective -}}
{{- range $speed := list "fast" "slow" -}}
{{- $factor := get $v.slo.burn $speed | dig "factor" 0 -}}
{{- range $of, $objective := $objectives -}}
{{- if ge (mulf $factor (subf 100 $objective)) 100.0 -}}
{{- $wrong = append $wrong (printf "slo.burn.%s.factor %v times what slo.%s.objective %v leaves is more than all requests, and no alert could fire; lower the factor or raise the objective." $speed $factor $of $objective) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\n%s\n" (join "\n" $wrong)) -}}
{{- end -}}
{{- end }}
