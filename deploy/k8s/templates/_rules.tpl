{{/* Rules between values. All faults are told at once, each with what to do. */}}

{{- define "breakwater.rules" -}}
{{- $faults := list -}}
{{- range tuple "mode" "exchange" "secrets" "replay" "bus" "books" "egress" "scaling" "rest" -}}
{{- $faults = concat $faults (default list (include (printf "breakwater.rules.%s" .) $ | fromYaml).faults) -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n\nThese values do not go together:\n  - %s\n" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end -}}

{{/*
Paper, testnet and live are one run, `live`: on one bus and in one set of books they would take each other's positions for their own. The
ConfigMap tells the mode of a release, the Secret with the bus's passwords that of one whose volumes were kept.
*/}}
{{- define "breakwater.rules.mode" -}}
{{- $name := include "breakwater.fullname" . -}}
{{- $before := "" -}}
{{- range list (list "ConfigMap" "config") (list "Secret" "nats") -}}
{{- $made := lookup "v1" (first .) $.Release.Namespace (printf "%s-%s" $name (last .)) -}}
{{- $before = $before | default (dig "metadata" "annotations" "breakwater.io/mode" "" $made) -}}
{{- end -}}
faults:
{{- if and $before (ne $before .Values.mode) }}
  - "the bus and the books of this release are those of mode {{ $before }}: install mode {{ .Values.mode }} in a namespace of its own"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.exchange" -}}
{{- $values := .Values -}}
{{- $simulated := has $values.mode (list "paper" "replay") -}}
{{- $accounts := include "breakwater.isGiven" $values.exchange.accounts -}}
faults:
{{- if and (not $simulated) (not $accounts) }}
  - "mode {{ $values.mode }} needs the exchange keys: set exchange.accounts.existingSecret (or .from, or .external.key)"
{{- end }}
{{- if and $simulated $accounts }}
  - "exchange.accounts is for modes testnet and live; in mode {{ $values.mode }} the paper exchange has keys of its own, so leave it out"
{{- end }}
{{- if and $simulated (or $values.exchange.restUrl $values.exchange.publicStreamUrl $values.exchange.privateStreamUrl) }}
  - "exchange.restUrl and the stream URLs are for modes testnet and live; mode {{ $values.mode }} trades against the bundled paper exchange"
{{- end }}
{{- if not $values.config.portfolio.symbols }}
  - "config.portfolio.symbols is empty: name the symbols to trade{{ if eq $values.mode "replay" }}, those of the recording{{ end }}"
{{- end }}
{{- if not $values.config.portfolio.accounts }}
  - "config.portfolio.accounts is empty: name at least one account"
{{- end }}
{{- if and $values.operator.exchangeAccess (or $simulated $values.exchange.accounts.from) }}
  - "operator.exchangeAccess is for modes testnet and live with the keys in a Secret: `breakwater doctor` reads them from a file"
{{- end }}
{{- if and $values.operator.exchangeAccess (not $values.operator.enabled) }}
  - "operator.exchangeAccess needs operator.enabled"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.secrets" -}}
{{- $values := .Values -}}
{{- $sources := dict "exchange.accounts" $values.exchange.accounts "database.url" $values.database.url "slack.token" $values.slack.token "nats.passwords" $values.nats.passwords -}}
{{- $usesStore := false -}}
{{- $usesAws := eq $values.recording.source "s3" -}}
faults:
{{- range $name, $source := $sources }}
{{- if gt (len (compact (list $source.existingSecret $source.from $source.external.key))) 1 }}
  - "{{ $name }} has more than one source: keep one of existingSecret, from and external.key"
{{- end }}
{{- if $source.external.key }}{{ $usesStore = true }}{{ end }}
{{- if $source.from }}{{ $usesAws = true }}{{ end }}
{{- end }}
{{- if and $usesStore (not $values.externalSecrets.store.name) }}
  - "an external.key is set: name the store that it is read from in externalSecrets.store.name"
{{- end }}
{{- if and $values.externalSecrets.store.create (or (ne $values.externalSecrets.store.kind "SecretStore") (empty $values.externalSecrets.store.provider)) }}
  - "externalSecrets.store.create makes a SecretStore of the namespace: set its provider, and leave kind at SecretStore"
{{- end }}
{{- if and $usesAws (not $values.aws.region) }}
  - "a secret or recording comes from AWS: set aws.region, e.g. ap-northeast-2"
{{- end }}
{{- if and (eq $values.aws.identity "webIdentity") (not $values.aws.roleArn) }}
  - "aws.identity webIdentity needs aws.roleArn, the role that the pods take on"
{{- end }}
{{- if and (eq $values.aws.identity "keys") (not $values.aws.existingSecret) }}
  - "aws.identity keys needs aws.existingSecret, a Secret with access-key-id and secret-access-key"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.replay" -}}
{{- $values := .Values -}}
{{- $recording := $values.recording -}}
faults:
{{- if and (eq $values.mode "replay") (eq $recording.source "none") }}
  - "mode replay needs a recording: set recording.source to pvc or s3"
{{- end }}
{{- if and (has $values.mode (list "testnet" "live")) (ne $recording.source "none") }}
  - "recording is what modes paper and replay play; to record in mode {{ $values.mode }} set recorder.enabled"
{{- end }}
{{- if and (eq $recording.source "pvc") (not $recording.pvc.claimName) }}
  - "recording.source is pvc: set recording.pvc.claimName to the claim that holds the recording"
{{- end }}
{{- if and (eq $recording.source "s3") (not $recording.s3.url) }}
  - "recording.source is s3: set recording.s3.url, e.g. s3://my-bucket/recordings"
{{- end }}
{{- if and $values.replay.runId (ne $values.mode "replay") }}
  - "replay.runId is for mode replay; mode {{ $values.mode }} always runs under the id live"
{{- end }}
{{- if and $values.replay.start $values.replay.end (gt $values.replay.start $values.replay.end) }}
  - "replay.start {{ $values.replay.start }} is after replay.end {{ $values.replay.end }}"
{{- end }}
{{- if and $values.recorder.enabled (has $values.mode (list "paper" "replay")) }}
  - "recorder.enabled is for modes testnet and live; mode {{ $values.mode }} has nothing worth recording"
{{- end }}
{{- if and $values.recorder.parity (not $values.recorder.enabled) }}
  - "recorder.parity compares with what is recorded: set recorder.enabled too"
{{- end }}
{{- if and $values.recorder.enabled (gt (int $values.marketData.replicas) 1) }}
  - "recorder.enabled needs marketData.replicas 1: two processes must not write one recording"
{{- end }}
{{- if and (eq $values.mode "replay") (gt (int $values.marketData.replicas) 1) }}
  - "mode replay needs marketData.replicas 1: one process plays the recording"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.bus" -}}
{{- $nats := .Values.nats -}}
{{- $external := eq $nats.mode "external" -}}
faults:
{{- if and $external (not $nats.url) }}
  - "nats.mode is external: set nats.url, e.g. nats://nats.example.com:4222"
{{- end }}
{{- if and (not $external) $nats.url }}
  - "nats.url is for nats.mode external; the bundled server has an address of its own"
{{- end }}
{{- if and $external (not (include "breakwater.isGiven" $nats.passwords)) }}
  - "nats.mode is external: set nats.passwords.existingSecret (or .from, or .external.key) to the users' passwords"
{{- end }}
{{- if and (not $external) $nats.passwords.from }}
  - "nats.passwords.from is for nats.mode external: the bundled server takes its passwords from a Secret"
{{- end }}
{{- if and $nats.passwords.from .Values.operator.enabled }}
  - "nats.passwords.from cannot serve the operator pod: set operator.enabled to false, or use a Secret"
{{- end }}
{{- if and $nats.tls.enabled (not $external) (not $nats.tls.serverSecret) }}
  - "nats.tls.enabled needs nats.tls.serverSecret, a Secret with tls.crt, tls.key and ca.crt for the bundled server"
{{- end }}
{{- if and $nats.tls.enabled $external (not $nats.tls.caSecret) }}
  - "nats.tls.enabled needs nats.tls.caSecret, a Secret with the ca.crt that the server is checked by"
{{- end }}
{{- if and $external $nats.tls.enabled (contains "nats://" $nats.url) }}
  - "nats.tls.enabled needs tls:// in nats.url"
{{- end }}
{{- if and $external (not $nats.tls.enabled) (contains "tls://" $nats.url) }}
  - "nats.url is tls://: set nats.tls.enabled and nats.tls.caSecret"
{{- end }}
{{- if and (not $external) (gt (int $nats.setup.replicas) 1) }}
  - "nats.setup.replicas above 1 needs a cluster: nats.mode external"
{{- end }}
{{- if and $nats.tls.clientSecret (not $nats.tls.enabled) }}
  - "nats.tls.clientSecret needs nats.tls.enabled"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.books" -}}
{{- $database := .Values.database -}}
{{- $given := include "breakwater.isGiven" $database.url -}}
faults:
{{- if and (eq $database.mode "external") (not $given) }}
  - "database.mode is external: set database.url.existingSecret (or .from, or .external.key) to its URL"
{{- end }}
{{- if and $database.existingSecret (ne $database.mode "bundled") }}
  - "database.existingSecret is for database.mode bundled, which is {{ $database.mode }}; an external database's URL comes from database.url"
{{- end }}
{{- if and (ne $database.mode "external") $given }}
  - "database.url is for database.mode external, which is {{ $database.mode }}"
{{- end }}
{{- if and (eq $database.mode "sqlite") (gt (int .Values.reporter.replicas) 1) }}
  - "database.mode sqlite needs reporter.replicas 1; for more use bundled or external"
{{- end }}
{{- if and (eq $database.migrations "hook") (not (include "breakwater.migrateByHook" .)) }}
  - "database.migrations hook runs before the chart's objects exist: it needs database.mode external with url.existingSecret or url.from"
{{- end }}
{{- if and (include "breakwater.isGiven" .Values.slack.token) (not .Values.slack.channel) }}
  - "slack.token needs slack.channel, the channel's id, e.g. C0123456789"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.egress" -}}
{{- $egress := .Values.egress -}}
faults:
{{- if and (ne $egress.mode "none") (not $egress.expectedIPs) }}
  - "egress.mode {{ $egress.mode }} needs egress.expectedIPs, the addresses that the key is bound to (docs/fixed-egress.md)"
{{- end }}
{{- if and (eq $egress.mode "cilium") (not $egress.cilium.nodeSelector) }}
  - "egress.mode cilium needs egress.cilium.nodeSelector, the labels of the gateway's node"
{{- end }}
{{- if and (ne $egress.mode "none") (has .Values.mode (list "paper" "replay")) }}
  - "egress.mode {{ $egress.mode }} is for modes testnet and live; nothing leaves the cluster in mode {{ .Values.mode }}"
{{- end }}
{{- if and $egress.expectedIPs (has .Values.mode (list "paper" "replay")) }}
  - "egress.expectedIPs is for modes testnet and live; nothing leaves the cluster in mode {{ .Values.mode }}"
{{- end }}
{{- if and $egress.cilium.egressIP $egress.cilium.interface }}
  - "set one of egress.cilium.egressIP and egress.cilium.interface"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.scaling" -}}
{{- $scaling := .Values.autoscaling -}}
faults:
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}
  - "autoscaling.minReplicas {{ $scaling.minReplicas }} is above autoscaling.maxReplicas {{ $scaling.maxReplicas }}"
{{- end }}
{{- if and $scaling.prometheusUrl (ne $scaling.mode "keda") }}
  - "autoscaling.prometheusUrl is for autoscaling.mode keda"
{{- end }}
{{- if and (eq $scaling.mode "hpa") (not (dig "requests" "cpu" "" .Values.executor.resources)) }}
  - "autoscaling.mode hpa needs executor.resources.requests.cpu, which the use is measured by"
{{- end }}
{{- end -}}

{{- define "breakwater.rules.rest" -}}
faults:
{{- range list "marketData" "executorAccount" "reporter" "notifier" "signal" }}
{{- if and (not (int (get $.Values .).replicas)) (ne . "notifier") (ne . "reporter") }}
  - "{{ . }}.replicas is 0: nothing trades without it; to stop entries use `breakwater halt`"
{{- end }}
{{- end }}
{{- if and (not (int .Values.executor.replicas)) (eq .Values.autoscaling.mode "none") }}
  - "executor.replicas is 0: exits would not be carried out; to stop entries use `breakwater halt`"
{{- end }}
{{- end -}}
