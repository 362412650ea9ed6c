{{/*
How a pod is wired: environment and mounts of a service, put together from pieces.

Each piece takes root, component, service (from "breakwater.services"), values (the service's own), facts, and returns
`env` (name -> text, or what stands for it) and `mounts` (name, path, readOnly, and the volume).
*/}}

{{- define "breakwater.wiring" -}}
{{- $root := .root -}}
{{- $service := get (include "breakwater.services" $root | fromYaml) .component -}}
{{- $context := dict "root" $root "component" .component "service" $service "prefix" $service.prefix "values" (get $root.Values $service.section) "facts" (include "breakwater.facts" $root | fromYaml) -}}
{{- $env := dict -}}
{{- $mounts := list -}}
{{- range concat $service.pieces (list "aws" "settings") -}}
{{- $piece := include (printf "breakwater.piece.%s" .) $context | fromYaml -}}
{{- $env = merge (default dict $piece.env) $env -}}
{{- $mounts = concat $mounts (default list $piece.mounts) -}}
{{- end -}}
{{- toYaml (dict "env" $env "mounts" $mounts) -}}
{{- end -}}

{{/* Wiring of one secret: a file from a Secret, or a reference that the service reads. Takes prefix (of the name), setting, from, secret, key, slot, file. */}}
{{- define "breakwater.secretPiece" -}}
{{- if .from }}
env:
  {{ .prefix }}{{ .setting }}_FROM: {{ .from | quote }}
{{- else }}
env:
  {{ .prefix }}{{ .setting }}_FILE: /run/secrets/{{ .slot }}/{{ .file }}
mounts:
  - name: secret-{{ .slot }}
    path: /run/secrets/{{ .slot }}
    volume:
      secret:
        secretName: {{ .secret }}
        defaultMode: 288 # 0440
        items: [{key: {{ .key | quote }}, path: {{ .file }}}]
{{- end }}
{{- end -}}

{{- define "breakwater.piece.common" -}}
env:
  {{ .prefix }}HTTP_HOST: "0.0.0.0"
  {{ .prefix }}HTTP_PORT: "8080"
  {{ .prefix }}RUN_ID: {{ .facts.runId | quote }}
  {{ .prefix }}LOG_LEVEL: {{ .root.Values.logLevel }}
  {{ .prefix }}DRAIN_TIMEOUT_S: {{ include "breakwater.text" .values.drainTimeoutSeconds | quote }}
  {{ .prefix }}CONFIG_FILE: /etc/breakwater/config.yaml
  {{ .prefix }}INSTANCE: {valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  {{- with .root.Values.tracing.endpoint }}
  {{ $.prefix }}OTLP_ENDPOINT: {{ . | quote }}
  {{ $.prefix }}OTLP_SAMPLE_RATIO: {{ include "breakwater.text" $.root.Values.tracing.sampleRatio | quote }}
  {{- end }}
mounts:
  - {name: config, path: /etc/breakwater, volume: {configMap: {name: {{ include "breakwater.fullname" .root }}-config}}}
  - {name: tmp, path: /tmp, readOnly: false, volume: {emptyDir: {sizeLimit: 256Mi}}}
{{- end -}}

{{- define "breakwater.piece.nats" -}}
{{- $passwords := .root.Values.nats.passwords -}}
{{- $piece := include "breakwater.secretPiece" (dict "prefix" .prefix "setting" "NATS_PASSWORD" "from" (ternary (printf "%s#%s" $passwords.from .component) "" (not (empty $passwords.from))) "secret" .facts.natsSecret "key" .component "slot" "nats" "file" "password") | fromYaml -}}
{{- $env := merge (dict (printf "%sNATS_URL" .prefix) .facts.natsUrl (printf "%sNATS_USER" .prefix) .component) $piece.env -}}
{{- $mounts := default list $piece.mounts -}}
{{- $tls := .root.Values.nats.tls -}}
{{- if $tls.enabled -}}
{{- $env = merge (dict (printf "%sNATS_TLS_CA_FILE" .prefix) "/run/secrets/nats-ca/ca.crt") $env -}}
{{- $mounts = append $mounts (include "breakwater.secretMount" (dict "slot" "nats-ca" "secret" .facts.natsCaSecret "keys" (list "ca.crt")) | fromYaml) -}}
{{- if $tls.clientSecret -}}
{{- $env = merge (dict (printf "%sNATS_TLS_CERT_FILE" .prefix) "/run/secrets/nats-client/tls.crt" (printf "%sNATS_TLS_KEY_FILE" .prefix) "/run/secrets/nats-client/tls.key") $env -}}
{{- $mounts = append $mounts (include "breakwater.secretMount" (dict "slot" "nats-client" "secret" $tls.clientSecret "keys" (list "tls.crt" "tls.key")) | fromYaml) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "env" $env "mounts" $mounts) -}}
{{- end -}}

{{/* A mount of some keys of a Secret. Takes slot, secret, keys. */}}
{{- define "breakwater.secretMount" -}}
name: secret-{{ .slot }}
path: /run/secrets/{{ .slot }}
volume:
  secret:
    secretName: {{ .secret }}
    defaultMode: 288 # 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end -}}

{{/* The recording, mounted for the component that plays it. Takes root. */}}
{{- define "breakwater.recordingMount" -}}
{{- $recording := .Values.recording -}}
name: recording
path: /recording
{{- if eq $recording.source "pvc" }}
{{- with $recording.pvc.subPath }}
subPath: {{ . | quote }}
{{- end }}
volume: {persistentVolumeClaim: {claimName: {{ $recording.pvc.claimName }}, readOnly: true}}
{{- else }}
volume: {emptyDir: {sizeLimit: {{ $recording.s3.size }}}}
{{- end }}
{{- end -}}

{{/* The played paths as the services take them, JSON. Takes root. */}}
{{- define "breakwater.recordingPaths" -}}
{{- $paths := list -}}
{{- range .Values.recording.paths -}}
{{- $path := . | replace "=" "=/recording/" -}}
{{- if not (contains "=" .) }}{{ $path = printf "/recording/%s" . | trimSuffix "/." }}{{ end -}}
{{- $paths = append $paths $path -}}
{{- end -}}
{{- toJson $paths -}}
{{- end -}}

{{- define "breakwater.piece.market" -}}
{{- $replay := .root.Values.replay -}}
env:
{{- if .facts.replayed }}
  MARKET_DATA_MODE: replay
  MARKET_DATA_RECORDINGS: {{ include "breakwater.recordingPaths" .root | quote }}
  MARKET_DATA_SPEED: {{ include "breakwater.text" $replay.speed | quote }}
  {{- with $replay.start }}
  MARKET_DATA_START: {{ . | quote }}
  {{- end }}
  {{- with $replay.end }}
  MARKET_DATA_END: {{ . | quote }}
  {{- end }}
  {{- with $replay.windowSeconds }}
  MARKET_DATA_WINDOW_S: {{ include "breakwater.text" . | quote }}
  {{- end }}
mounts:
  - {{- include "breakwater.recordingMount" .root | nindent 4 }}
{{- else }}
  MARKET_DATA_MODE: live
  MARKET_DATA_EXCHANGE_URL: {{ .facts.restUrl | quote }}
  MARKET_DATA_PUBLIC_STREAM_URL: {{ .facts.publicStreamUrl | quote }}
  {{- if .facts.recorder }}
  MARKET_DATA_RECORD_DIRECTORY: /data/recordings
  MARKET_DATA_RECORD_FLUSH_S: {{ include "breakwater.text" .root.Values.recorder.flushSeconds | quote }}
mounts:
  - {name: recordings, path: /data/recordings, readOnly: false, volume: {persistentVolumeClaim: {claimName: {{ .facts.recorderClaim }}}}}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "breakwater.piece.signal" -}}
env:
{{- if eq .root.Values.autoscaling.mode "keda" }}
  SIGNAL_NEAR_TARGET_RATIO: {{ .root.Values.autoscaling.nearTargetRatio | quote }}
{{- else }} {}
{{- end }}
{{- end -}}

{{- define "breakwater.piece.executor" -}}
{{- $egress := .root.Values.egress -}}
{{- $accounts := include "breakwater.secretPiece" (dict "prefix" "EXECUTOR_" "setting" "ACCOUNTS" "from" .root.Values.exchange.accounts.from "secret" .facts.accountsSecret "key" .facts.accountsKey "slot" "accounts" "file" "accounts.json") | fromYaml -}}
{{- $env := dict "EXECUTOR_ROLE" (trimPrefix "executor-" .component) "EXECUTOR_EXCHANGE_URL" .facts.restUrl "EXECUTOR_PRIVATE_STREAM_URL" .facts.privateStreamUrl "EXECUTOR_CLOCK" (ternary "event" "wall" .facts.replayed) -}}
{{- if $egress.expectedIPs -}}
{{- $env = merge (dict "BREAKWATER_EGRESS_EXPECTED_IPS" (join "," $egress.expectedIPs) "BREAKWATER_EGRESS_CHECK_SECONDS" (include "breakwater.text" $egress.checkSeconds)) $env -}}
{{- if $egress.echoUrl }}{{ $env = merge (dict "BREAKWATER_EGRESS_ECHO_URL" $egress.echoUrl) $env }}{{ end -}}
{{- end -}}
{{- toYaml (dict "env" (merge $env $accounts.env) "mounts" (default list $accounts.mounts)) -}}
{{- end -}}

{{/* Wiring of the database. Takes root and facts. */}}
{{- define "breakwater.piece.database" -}}
{{- if eq .root.Values.database.mode "sqlite" }}
env:
  REPORTER_DATABASE_URL: sqlite:////data/breakwater.db
mounts:
  - name: data
    path: /data
    readOnly: false
    {{- if .root.Values.database.persistence.enabled }}
    volume: {persistentVolumeClaim: {claimName: {{ include "breakwater.fullname" .root }}-reporter}}
    {{- else }}
    volume: {emptyDir: {}}
    {{- end }}
{{- else }}
{{- include "breakwater.secretPiece" (dict "prefix" "REPORTER_" "setting" "DATABASE_URL" "from" .root.Values.database.url.from "secret" .facts.databaseSecret "key" .facts.databaseKey "slot" "database" "file" "url") }}
{{- end }}
{{- end -}}

{{- define "breakwater.piece.reporter" -}}
{{- $database := include "breakwater.piece.database" . | fromYaml -}}
{{- $env := merge (dict "REPORTER_MIGRATE" (ternary "false" "true" .facts.migrateByHook)) $database.env -}}
{{- $mounts := default list $database.mounts -}}
{{- if and .facts.recorder .root.Values.recorder.parity -}}
{{- $env = merge (dict "REPORTER_RECORDINGS" "/recordings") $env -}}
{{- $mounts = append $mounts (dict "name" "recordings" "path" "/recordings" "volume" (dict "persistentVolumeClaim" (dict "claimName" .facts.recorderClaim))) -}}
{{- end -}}
{{- toYaml (dict "env" $env "mounts" $mounts) -}}
{{- end -}}

{{- define "breakwater.piece.notifier" -}}
{{- $slack := .root.Values.slack -}}
{{- $env := dict "NOTIFIER_RUNBOOK" $slack.runbook -}}
{{- $mounts := list -}}
{{- if $slack.linkBase }}{{ $env = merge (dict "NOTIFIER_LINK_BASE" $slack.linkBase) $env }}{{ end -}}
{{- if .facts.hasSlack -}}
{{- $token := include "breakwater.secretPiece" (dict "prefix" "NOTIFIER_" "setting" "SLACK_TOKEN" "from" $slack.token.from "secret" .facts.slackSecret "key" $slack.token.key "slot" "slack" "file" "token") | fromYaml -}}
{{- $env = merge (dict "NOTIFIER_SLACK_CHANNEL" $slack.channel) $token.env $env -}}
{{- $mounts = default list $token.mounts -}}
{{- end -}}
{{- toYaml (dict "env" $env "mounts" $mounts) -}}
{{- end -}}

{{- define "breakwater.piece.paper" -}}
{{- $prices := .root.Values.replay.referencePrices -}}
{{- $plays := eq (include "breakwater.player" .root) "paper-exchange" -}}
env:
  PAPER_EXCHANGE_MODE: {{ ternary "replay" "realtime" .facts.replayed }}
  {{- if $prices }}
  PAPER_EXCHANGE_REFERENCE_PRICES: {{ toJson $prices | quote }}
  {{- end }}
  {{- if $plays }}
  PAPER_EXCHANGE_RECORDINGS: {{ include "breakwater.recordingPaths" .root | quote }}
mounts:
  - {{- include "breakwater.recordingMount" .root | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Region and identity for AWS, where the component needs it. Takes root and component. */}}
{{- define "breakwater.piece.aws" -}}
{{- $aws := .root.Values.aws -}}
{{- if include "breakwater.usesAws" . }}
env:
  AWS_REGION: {{ $aws.region | quote }}
  AWS_DEFAULT_REGION: {{ $aws.region | quote }} # boto3 reads this one
  {{- with $aws.endpointUrl }}
  AWS_ENDPOINT_URL: {{ . | quote }}
  {{- end }}
  {{- if eq $aws.identity "webIdentity" }}
  AWS_ROLE_ARN: {{ $aws.roleArn | quote }}
  AWS_WEB_IDENTITY_TOKEN_FILE: /run/secrets/aws/token
mounts:
  - name: aws-token
    path: /run/secrets/aws
    volume: {projected: {defaultMode: 288, sources: [{serviceAccountToken: {audience: sts.amazonaws.com, expirationSeconds: 3600, path: token}}]}}
  {{- else if eq $aws.identity "keys" }}
  AWS_ACCESS_KEY_ID: {valueFrom: {secretKeyRef: {name: {{ $aws.existingSecret }}, key: access-key-id}}}
  AWS_SECRET_ACCESS_KEY: {valueFrom: {secretKeyRef: {name: {{ $aws.existingSecret }}, key: secret-access-key}}}
  {{- end }}
{{- else }}
env: {}
{{- end }}
{{- end -}}

{{/* Further settings by name. */}}
{{- define "breakwater.piece.settings" -}}
env:
{{- range $name, $value := .values.settings }}
  {{ $.prefix }}{{ $name }}: {{ include "breakwater.text" $value | quote }}
{{- else }} {}
{{- end }}
{{- end -}}
