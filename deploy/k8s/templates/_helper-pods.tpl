{{/* Spec of a pod that is no service: the Jobs and the operator. Takes root, component, image, command, env, mounts, resources, restartPolicy, graceSeconds. */}}
{{- define "breakwater.helperPod" -}}
serviceAccountName: {{ include "breakwater.fullname" .root }}-{{ .component }}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: {{ .restartPolicy }}
terminationGracePeriodSeconds: {{ .graceSeconds }}
securityContext:
  {{- include "breakwater.podSecurity" 10001 | nindent 2 }}
{{- include "breakwater.placement" . }}
containers:
  - name: {{ .component }}
    image: {{ include "breakwater.image" . }}
    imagePullPolicy: {{ include "breakwater.pullPolicy" .root }}
    command: {{ toJson .command }}
    env:
      {{- include "breakwater.env" .env | nindent 6 }}
    securityContext:
      {{- include "breakwater.containerSecurity" . | nindent 6 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- include "breakwater.volumeMounts" .mounts | nindent 6 }}
volumes:
  - {name: tmp, emptyDir: {sizeLimit: 256Mi}}
  {{- include "breakwater.volumes" .mounts | nindent 2 }}
{{- end -}}

{{- define "breakwater.jobResources" -}}
requests: {cpu: 50m, memory: 128Mi}
limits: {memory: 512Mi}
{{- end -}}

{{/* Annotations of what runs before the release. Takes the weight; all of it is removed once all of it has succeeded. */}}
{{- define "breakwater.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
