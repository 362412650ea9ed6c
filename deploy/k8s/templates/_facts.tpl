{{/* What follows from the values: components, addresses, ids. */}}

{{/* The services: section of the values, image, prefix of the environment, and the pieces that their pods are wired from. */}}
{{- define "breakwater.services" -}}
market-data: {section: marketData, image: market-data, prefix: MARKET_DATA_, pieces: [common, nats, market]}
signal: {section: signal, image: signal, prefix: SIGNAL_, pieces: [common, nats, signal]}
executor-order: {section: executor, image: executor, prefix: EXECUTOR_, pieces: [common, nats, executor]}
executor-account: {section: executorAccount, image: executor, prefix: EXECUTOR_, pieces: [common, nats, executor]}
reporter: {section: reporter, image: reporter, prefix: REPORTER_, pieces: [common, nats, reporter]}
notifier: {section: notifier, image: notifier, prefix: NOTIFIER_, pieces: [common, nats, notifier]}
{{- if has .Values.mode (list "paper" "replay") }}
paper-exchange: {section: paperExchange, image: paper-exchange, prefix: PAPER_EXCHANGE_, pieces: [common, {{ if eq .Values.mode "replay" }}nats, {{ end }}paper]}
{{- end }}
{{- end -}}

{{/* Takes root. */}}
{{- define "breakwater.facts" -}}
{{- $values := .Values -}}
{{- $name := include "breakwater.fullname" . -}}
{{- $simulated := has $values.mode (list "paper" "replay") -}}
{{- $paperHost := printf "%s-paper-exchange.%s.svc:8080" $name .Release.Namespace -}}
{{- $suffix := ternary "-testnet" "" (eq $values.mode "testnet") -}}
simulated: {{ $simulated }}
replayed: {{ eq $values.mode "replay" }}
runId: {{ include "breakwater.runId" . | quote }}
{{- if $simulated }}
restUrl: http://{{ $paperHost }}
publicStreamUrl: ws://{{ $paperHost }}
privateStreamUrl: ws://{{ $paperHost }}
{{- else }}
restUrl: {{ default (printf "https://api%s.bybit.com" $suffix) $values.exchange.restUrl | quote }}
publicStreamUrl: {{ default (printf "wss://stream%s.bybit.com" $suffix) $values.exchange.publicStreamUrl | quote }}
privateStreamUrl: {{ default (printf "wss://stream%s.bybit.com" $suffix) $values.exchange.privateStreamUrl | quote }}
{{- end }}
natsBundled: {{ eq $values.nats.mode "bundled" }}
{{- if eq $values.nats.mode "bundled" }}
natsUrl: {{ ternary "tls" "nats" $values.nats.tls.enabled }}://{{ $name }}-nats.{{ .Release.Namespace }}.svc:4222
{{- else }}
natsUrl: {{ $values.nats.url | quote }}
{{- end }}
natsCaSecret: {{ default $values.nats.tls.serverSecret $values.nats.tls.caSecret | quote }}
natsSecret: {{ include "breakwater.secretName" (dict "root" . "source" $values.nats.passwords "name" "nats") }}
accountsSecret: {{ include "breakwater.secretName" (dict "root" . "source" $values.exchange.accounts "name" "accounts") }}
accountsKey: {{ ternary "accounts.json" $values.exchange.accounts.key $simulated }}
databaseSecret: {{ if eq $values.database.mode "bundled" }}{{ default (printf "%s-postgres" $name) $values.database.existingSecret }}{{ else }}{{ include "breakwater.secretName" (dict "root" . "source" $values.database.url "name" "database") }}{{ end }}
databaseKey: {{ ternary "url" $values.database.url.key (eq $values.database.mode "bundled") }}
slackSecret: {{ include "breakwater.secretName" (dict "root" . "source" $values.slack.token "name" "slack") }}
hasSlack: {{ not (empty (include "breakwater.isGiven" $values.slack.token)) }}
migrateByHook: {{ not (empty (include "breakwater.migrateByHook" .)) }}
recorder: {{ and $values.recorder.enabled (not $simulated) }}
recorderClaim: {{ default (printf "%s-recordings" $name) $values.recorder.existingClaim }}
{{- end -}}

{{/* Id of the run: `live`, or in a replay a hash of all that its result depends on. */}}
{{- define "breakwater.runId" -}}
{{- if ne .Values.mode "replay" -}}
live
{{- else if .Values.replay.runId -}}
{{ .Values.replay.runId }}
{{- else -}}
{{- $replay := pick .Values.replay "attempt" "start" "end" "referencePrices" -}}
{{- $text := toJson (list .Values.config .Values.recording $replay .Values.paperExchange.settings) -}}
replay-{{ sha256sum $text | trunc 16 }}
{{- end -}}
{{- end -}}

{{/* Not empty if a source of a secret is named. */}}
{{- define "breakwater.isGiven" -}}
{{- or .existingSecret .from .external.key "" -}}
{{- end -}}

{{/* The Secret that a source comes from: the named one, or the one that the chart makes. Takes root, source and name. */}}
{{- define "breakwater.secretName" -}}
{{- default (printf "%s-%s" (include "breakwater.fullname" .root) .name) .source.existingSecret -}}
{{- end -}}

{{/* Not empty if a Job migrates the database before the release: everything that it needs is there before. */}}
{{- define "breakwater.migrateByHook" -}}
{{- $database := .Values.database -}}
{{- $early := and (eq $database.mode "external") (or $database.url.existingSecret $database.url.from) -}}
{{- if and $early (ne $database.migrations "reporter") }}yes{{ end -}}
{{- end -}}

{{/* Not empty if the component talks to AWS. Takes root and component. */}}
{{- define "breakwater.usesAws" -}}
{{- $values := .root.Values -}}
{{- $on := list -}}
{{- if and $values.nats.passwords.from (ne .component "migrate") (ne .component "operator") }}{{ $on = append $on "nats" }}{{ end -}}
{{- if and $values.exchange.accounts.from (hasPrefix "executor-" .component) }}{{ $on = append $on "accounts" }}{{ end -}}
{{- if and $values.database.url.from (has .component (list "reporter" "migrate")) }}{{ $on = append $on "database" }}{{ end -}}
{{- if and $values.slack.token.from (eq .component "notifier") }}{{ $on = append $on "slack" }}{{ end -}}
{{- if and (eq $values.recording.source "s3") (eq .component (include "breakwater.player" .root)) }}{{ $on = append $on "recording" }}{{ end -}}
{{- join " " $on -}}
{{- end -}}

{{/* The component that plays a recording; empty without one. */}}
{{- define "breakwater.player" -}}
{{- if ne .Values.recording.source "none" -}}
{{- get (dict "paper" "paper-exchange" "replay" "market-data") .Values.mode -}}
{{- end -}}
{{- end -}}

{{/* Not empty if the component sends to the exchange. Takes root and component. */}}
{{- define "breakwater.usesExchange" -}}
{{- $trades := hasPrefix "executor-" .component -}}
{{- $watches := and (eq .component "market-data") (ne .root.Values.mode "replay") -}}
{{- $looks := and (eq .component "operator") .root.Values.operator.exchangeAccess -}}
{{- if or $trades $watches $looks }}yes{{ end -}}
{{- end -}}
