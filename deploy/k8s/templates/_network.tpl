{{/* Peers and ports of NetworkPolicies. */}}

{{/* Pods of the release. Takes root and components. */}}
{{- define "breakwater.pods" -}}
- podSelector:
    matchLabels:
      {{- include "breakwater.selector" (dict "root" .root) | nindent 6 }}
    matchExpressions:
      - {key: app.kubernetes.io/component, operator: In, values: {{ toJson .components }}}
{{- end -}}

{{/* Networks outside. Takes cidrs and except. */}}
{{- define "breakwater.networks" -}}
{{- $rule := . -}}
{{- range $cidr := .cidrs }}
- ipBlock:
    cidr: {{ $cidr | quote }}
    {{- $inside := list }}
    {{- range $rule.except }}
    {{- if eq (contains ":" .) (contains ":" $cidr) }}{{ $inside = append $inside . }}{{ end }}
    {{- end }}
    {{- if and $inside (has $cidr (list "0.0.0.0/0" "::/0")) }}
    except: {{ toJson $inside }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Port of a URL, as a rule's list. */}}
{{- define "breakwater.portOf" -}}
{{- $url := urlParse . -}}
{{- $usual := get (dict "http" 80 "https" 443 "nats" 4222 "tls" 4222) $url.scheme -}}
- {port: {{ regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default $usual | int }}, protocol: TCP}
{{- end -}}

{{/* Takes a list of ports. */}}
{{- define "breakwater.ports" -}}
{{- range . }}
- {port: {{ int . }}, protocol: TCP}
{{- end }}
{{- end -}}

{{/* What the component sends to, as the egress rules of its policy. Takes root, component, facts. */}}
{{- define "breakwater.egressRules" -}}
{{- $values := .root.Values -}}
{{- $policy := $values.networkPolicy -}}
{{- $facts := .facts -}}
{{- $component := .component -}}
- to: {{ toJson $policy.dns }}
  ports:
    {{- range $policy.dnsPorts | default (list 53) }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
{{- if has $component (include "breakwater.busUsers" .root | fromJsonArray) }}
{{- if $facts.natsBundled }}
- to:
    {{- include "breakwater.pods" (dict "root" .root "components" (list "nats")) | nindent 4 }}
  ports: [{port: 4222, protocol: TCP}]
{{- else }}
- ports:
    {{- include "breakwater.portOf" $facts.natsUrl | nindent 4 }}
  {{- with $policy.nats }}
  to: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end }}
{{- if has $component (list "reporter" "migrate") }}
{{- if eq $values.database.mode "bundled" }}
- to:
    {{- include "breakwater.pods" (dict "root" .root "components" (list "postgres")) | nindent 4 }}
  ports: [{port: 5432, protocol: TCP}]
{{- else if eq $values.database.mode "external" }}
- ports: [{port: {{ int $values.database.port }}, protocol: TCP}]
  {{- with $policy.database }}
  to: {{ toJson . }}
  {{- end }}
{{- end }}
{{- end }}
{{- if include "breakwater.usesExchange" . }}
{{- if $facts.simulated }}
- to:
    {{- include "breakwater.pods" (dict "root" .root "components" (list "paper-exchange")) | nindent 4 }}
  ports: [{port: 8080, protocol: TCP}]
{{- else }}
- to:
    {{- include "breakwater.networks" $policy.exchange | nindent 4 }}
  ports:
    {{- include "breakwater.ports" $policy.exchange.ports | nindent 4 }}
{{- if and $values.egress.expectedIPs (ne $component "market-data") }}
- to:
    {{- include "breakwater.networks" $policy.echo | nindent 4 }}
  ports:
    {{- include "breakwater.portOf" (default "https://checkip.amazonaws.com" $values.egress.echoUrl) | nindent 4 }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq $component "notifier") $facts.hasSlack }}
- to:
    {{- include "breakwater.networks" $policy.slack | nindent 4 }}
  ports: [{port: 443, protocol: TCP}]
{{- end }}
{{- if include "breakwater.usesAws" . }}
- to:
    {{- include "breakwater.networks" $policy.aws | nindent 4 }}
  ports:
    {{- include "breakwater.portOf" (default "https://aws" $values.aws.endpointUrl) | nindent 4 }}
{{- if eq $values.aws.identity "podIdentity" }}
- to: [{ipBlock: {cidr: 169.254.170.23/32}}]
  ports: [{port: 80, protocol: TCP}]
{{- else if eq $values.aws.identity "none" }}
# the node's role, or what answers in its place
- to: [{ipBlock: {cidr: 169.254.169.254/32}}]
  ports: [{port: 80, protocol: TCP}]
{{- end }}
{{- end }}
{{- if and $values.tracing.endpoint (hasKey (include "breakwater.services" .root | fromYaml) $component) }}
- ports:
    {{- include "breakwater.portOf" $values.tracing.endpoint | nindent 4 }}
  {{- with $policy.tracing }}
  to: {{ toJson . }}
  {{- end }}
{{- end }}
{{- if eq $component "operator" }}
- to:
    {{- include "breakwater.pods" (dict "root" .root "components" (list "reporter")) | nindent 4 }}
  ports: [{port: 8080, protocol: TCP}]
{{- end }}
{{- end -}}

{{/* Who sends to the component, as the ingress rules of its policy. Takes root, component, facts. */}}
{{- define "breakwater.ingressRules" -}}
{{- $values := .root.Values -}}
{{- $policy := $values.networkPolicy -}}
{{- $component := .component -}}
{{- if eq $component "nats" }}
- from:
    {{- include "breakwater.pods" (dict "root" .root "components" (include "breakwater.busUsers" .root | fromJsonArray)) | nindent 4 }}
  ports: [{port: 4222, protocol: TCP}]
{{- end }}
{{- if eq $component "postgres" }}
- from:
    {{- include "breakwater.pods" (dict "root" .root "components" (list "reporter")) | nindent 4 }}
  ports: [{port: 5432, protocol: TCP}]
{{- end }}
{{- if eq $component "paper-exchange" }}
- from:
    {{- include "breakwater.pods" (dict "root" .root "components" (concat (list "executor-order" "executor-account") (ternary (list) (list "market-data") .facts.replayed))) | nindent 4 }}
  ports: [{port: 8080, protocol: TCP}]
{{- end }}
{{- if eq $component "reporter" }}
- from:
    {{- if $values.operator.enabled }}
    {{- include "breakwater.pods" (dict "root" .root "components" (list "operator")) | nindent 4 }}
    {{- end }}
    {{- range $policy.reporterClients }}
    - {{ toJson . }}
    {{- end }}
    {{- if not (or $values.operator.enabled $policy.reporterClients) }} []
    {{- end }}
  ports: [{port: 8080, protocol: TCP}]
{{- end }}
{{- if and (eq $component "signal") (eq $values.autoscaling.mode "keda") (not $values.autoscaling.prometheusUrl) $policy.keda }}
- from: {{ toJson $policy.keda }}
  ports: [{port: 8080, protocol: TCP}]
{{- end }}
{{- if and $policy.prometheus (hasKey (include "breakwater.services" .root | fromYaml) $component) }}
- from: {{ toJson $policy.prometheus }}
  ports: [{port: 8080, protocol: TCP}]
{{- end }}
{{- end -}}

{{/* Components that connect to the bus, JSON. Takes root. */}}
{{- define "breakwater.busUsers" -}}
{{- $users := list "market-data" "signal" "executor-order" "executor-account" "reporter" "notifier" -}}
{{- if eq .Values.mode "replay" }}{{ $users = append $users "paper-exchange" }}{{ end -}}
{{- if .Values.operator.enabled }}{{ $users = append $users "operator" }}{{ end -}}
{{- if .Values.nats.setup.enabled }}{{ $users = append $users "setup" }}{{ end -}}
{{- toJson $users -}}
{{- end -}}
