{{/* Pods and the objects that run them. */}}

{{/* Security context of a pod. Takes uid. */}}
{{- define "breakwater.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int . }}
runAsGroup: {{ int . }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "breakwater.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Environment as a list. Takes a map of names and texts, or of what stands for the text. */}}
{{- define "breakwater.env" -}}
{{- range $name, $value := . }}
{{- if kindIs "map" $value }}
- name: {{ $name }}
  {{- toYaml $value | nindent 2 }}
{{- else }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Takes a list of mounts. */}}
{{- define "breakwater.volumeMounts" -}}
{{- range . }}
- name: {{ .name }}
  mountPath: {{ .path }}
  readOnly: {{ ne (toString .readOnly) "false" }}
  {{- with .subPath }}
  subPath: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Takes a list of mounts. */}}
{{- define "breakwater.volumes" -}}
{{- range . }}
- name: {{ .name }}
  {{- toYaml .volume | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where a pod runs. Takes root and component. */}}
{{- define "breakwater.placement" -}}
{{- $values := .root.Values -}}
{{- $nat := and (eq $values.egress.mode "natNodeGroup") (include "breakwater.usesExchange" .) -}}
{{- with $values.imagePullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- if $nat }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: {{ $values.egress.natNodeGroup.label }}, operator: In, values: [{{ $values.egress.natNodeGroup.value | quote }}]}
{{- end }}
{{- $tolerations := $values.tolerations -}}
{{- if $nat -}}
{{- $tolerations = append $tolerations (dict "key" $values.egress.natNodeGroup.label "operator" "Equal" "value" $values.egress.natNodeGroup.value "effect" "NoSchedule") -}}
{{- end }}
{{- with $tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end -}}

{{- define "breakwater.probes" -}}
startupProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /ready, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health, port: http}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* How one version replaces another. Overlap is harmless by design, so nothing pauses; except where there is one volume or one state. */}}
{{- define "breakwater.strategy" -}}
{{- $values := .root.Values -}}
{{- $facts := include "breakwater.facts" .root | fromYaml -}}
{{- $books := and (eq .component "reporter") (eq $values.database.mode "sqlite") -}}
{{- $feed := and (eq .component "market-data") (or $facts.replayed $facts.recorder) -}}
{{- if or $books $feed (eq .component "paper-exchange") -}}
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- end -}}
{{- end -}}

{{/* Number of pods; empty where an autoscaler owns it. Takes root, component, values. */}}
{{- define "breakwater.replicas" -}}
{{- if and (eq .component "executor-order") (ne .root.Values.autoscaling.mode "none") -}}
{{- else -}}
{{- get (default dict .values) "replicas" | default (ternary 0 1 (hasKey .values "replicas")) -}}
{{- end -}}
{{- end -}}

{{/* A service's Deployment (signal: StatefulSet, as its checkpoint bears the pod's name), ServiceAccount, Service and PodDisruptionBudget. Takes root and component. */}}
{{- define "breakwater.workload" -}}
{{- $root := .root -}}
{{- $service := get (include "breakwater.services" $root | fromYaml) .component -}}
{{- $values := get $root.Values $service.section -}}
{{- $wiring := include "breakwater.wiring" . | fromYaml -}}
{{- $replicas := include "breakwater.replicas" (dict "root" $root "component" .component "values" $values) -}}
{{- $stateful := eq .component "signal" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "breakwater.metadata" . | nindent 2 }}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Service
metadata:
  {{- include "breakwater.metadata" . | nindent 2 }}
spec:
  selector:
    {{- include "breakwater.selector" . | nindent 4 }}
  ports:
    - {name: http, port: 8080, targetPort: http}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "breakwater.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "breakwater.selector" . | nindent 6 }}
---
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" $stateful }}
metadata:
  {{- include "breakwater.metadata" . | nindent 2 }}
spec:
  {{- if ne $replicas "" }}
  replicas: {{ $replicas }}
  {{- end }}
  {{- if $stateful }}
  serviceName: {{ include "breakwater.fullname" $root }}-{{ .component }}
  podManagementPolicy: Parallel
  updateStrategy: {type: RollingUpdate}
  {{- else }}
  strategy:
    {{- include "breakwater.strategy" . | nindent 4 }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "breakwater.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "breakwater.labels" . | nindent 8 }}
      annotations:
        checksum/config: {{ toJson $root.Values.config | sha256sum }}
        {{- with $root.Values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "breakwater.fullname" $root }}-{{ .component }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add (ceil $values.drainTimeoutSeconds) $root.Values.gracePeriodMarginSeconds }}
      securityContext:
        {{- include "breakwater.podSecurity" 10001 | nindent 8 }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "breakwater.selector" $ | nindent 14 }}
        {{- end }}
      {{- include "breakwater.placement" . | nindent 6 }}
      {{- if and (eq $root.Values.recording.source "s3") (eq .component (include "breakwater.player" $root)) }}
      initContainers:
        - name: copy-recording
          image: {{ include "breakwater.image" (dict "root" $root "image" $service.image) }}
          imagePullPolicy: {{ include "breakwater.pullPolicy" $root }}
          command: [/app/.venv/bin/python, -m, breakwater_runtime.object_copy, {{ $root.Values.recording.s3.url | quote }}, /recording]
          env:
            {{- include "breakwater.env" (include "breakwater.piece.aws" . | fromYaml).env | nindent 12 }}
          securityContext:
            {{- include "breakwater.containerSecurity" . | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            - {name: recording, mountPath: /recording}
            {{- range $wiring.mounts }}
            {{- if has .name (list "tmp" "aws-token") }}
            {{- include "breakwater.volumeMounts" (list .) | nindent 12 }}
            {{- end }}
            {{- end }}
      {{- end }}
      containers:
        - name: {{ .component }}
          image: {{ include "breakwater.image" (dict "root" $root "image" $service.image) }}
          imagePullPolicy: {{ include "breakwater.pullPolicy" $root }}
          ports:
            - {name: http, containerPort: 8080}
          env:
            {{- include "breakwater.env" $wiring.env | nindent 12 }}
          {{- include "breakwater.probes" . | nindent 10 }}
          securityContext:
            {{- include "breakwater.containerSecurity" . | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          volumeMounts:
            {{- include "breakwater.volumeMounts" $wiring.mounts | nindent 12 }}
      volumes:
        {{- include "breakwater.volumes" $wiring.mounts | nindent 8 }}
{{- end -}}
