{{/*
The chart's own values as they are in values.yaml. Written by make generate.
Usage: $defaults := include "neutree.defaults" . | fromJson
*/}}
{{- define "neutree.defaults" -}}
{
  "extraObjects": [],
  "global": {
    "admin": {
      "displayName": "",
      "existingSecret": "",
      "username": "admin"
    },
    "backup": {
      "accessMode": "ReadWriteOnce",
      "drill": {"resources":{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"50m","memory":"256Mi"}},"storageClass":""},
      "enabled": true,
      "failedJobsHistoryLimit": 3,
      "image": {"digest":"","registry":"","repository":"","tag":""},
      "offsite": {"drillRecipients":[],"existingClaim":"","folder":"","recipients":[],"retention":{"daily":7,"last":5,"monthly":6,"weekly":4}},
      "resources": {"limits":{"cpu":"2","memory":"1Gi"},"requests":{"cpu":"50m","memory":"64Mi"}},
      "retention": 5,
      "s3": {"accessKeyKey":"AWS_ACCESS_KEY_ID","bucket":"","caSecret":"","caSecretKey":"ca.crt","endpoint":"","existingSecret":"","pathStyle":"auto","plainHTTP":false,"prefix":"","region":"","secretKeyKey":"AWS_SECRET_ACCESS_KEY","sessionTokenKey":""},
      "schedule": "",
      "size": "10Gi",
      "skip": false,
      "startingDeadlineSeconds": 3600,
      "storageClass": "",
      "successfulJobsHistoryLimit": 3,
      "suspend": false,
      "timeZone": "",
      "tolerations": [],
      "velero": false,
      "volumeSnapshotClass": ""
    },
    "commonLabels": {
    },
    "database": {
      "cnpg": {"extraSpec":{},"instances":1,"maxConnections":250,"nodeSelector":{},"operatorNamespace":"","parameters":{},"podAnnotations":{},"podLabels":{},"priorityClassName":"","requireTLS":"auto","resources":{"limits":{"cpu":"2","memory":"4Gi"},"requests":{"cpu":"250m","memory":"1Gi"}},"sslmode":"verify-full","storage":{"size":"10Gi","storageClass":""},"tolerations":[],"topologySpreadConstraints":[]},
      "external": {"caSecret":"","caSecretKey":"ca.crt","existingSecret":"","host":"","passwordKey":"password","port":5432,"sslmode":"verify-full","urlKey":"","userKey":"username"},
      "mode": "cnpg",
      "name": "nap",
      "user": "nap"
    },
    "exposure": {
      "frontResources": {"limits":{"cpu":"1","memory":"256Mi"},"requests":{"cpu":"10m","memory":"32Mi"}},
      "gateway": {"annotations":{},"parentRefs":[]},
      "ingress": {"annotations":{},"className":"","controller":""},
      "internalPaths": "auto",
      "nodePorts": {"browser":30085,"sandbox":30086,"web":30080},
      "remoteEnvironments": false,
      "tls": {"enabled":true,"secretName":"","wildcardSecretName":""},
      "type": "nodePort",
      "webhooks": true
    },
    "hooks": {
      "affinity": {},
      "extraEnv": [],
      "extraVolumeMounts": [],
      "extraVolumes": [],
      "image": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/packaging/nap-hooks","tag":"0.2.0-dev.0"},
      "nodeSelector": {},
      "podAnnotations": {},
      "podLabels": {},
      "priorityClassName": "",
      "resources": {"limits":{"cpu":"500m","memory":"128Mi"},"requests":{"cpu":"10m","memory":"32Mi"}},
      "seedResources": {"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"50m","memory":"128Mi"}},
      "timeouts": {"backup":1800,"bootstrap":900,"guard":30,"migrate":900,"pull":600,"secrets":30,"seed":900,"start":60,"teardown":240,"wait":900},
      "tolerations": []
    },
    "host": "",
    "imagePullPolicy": "",
    "imagePullSecrets": [],
    "imageRegistry": "",
    "images": {
      "afs": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/afs","tag":"latest"},
      "agent": {"registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-agent","tag":"v0.2.0"},
      "browserService": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-browser","tag":"v0.2.0"},
      "chromium": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/chromium-headful","tag":"v0.1.0"},
      "controlPlane": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-cp","tag":"v0.2.0"},
      "coturn": {"digest":"","registry":"docker.io","repository":"coturn/coturn","tag":"4.6.2"},
      "envRunner": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-env-runner-k8s","tag":"v0.2.0"},
      "gateway": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-cg","tag":"v0.2.0"},
      "memoryFuse": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-memory-fuse","tag":"v0.2.0"},
      "officeConverter": {"digest":"","registry":"docker.io","repository":"gotenberg/gotenberg","tag":"8.37.0"},
      "pause": {"digest":"","registry":"registry.k8s.io","repository":"pause","tag":"3.9"},
      "postgresql": {"digest":"","registry":"ghcr.io","repository":"cloudnative-pg/postgresql","tag":"17.10"},
      "sandboxService": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-sandbox","tag":"v0.2.0"},
      "scheduler": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-scheduler","tag":"v0.2.0"},
      "skills": {"digest":"","registry":"ghcr.io","repository":"neutree-ai/agent-platform/nap-skills-content-service","tag":"v0.2.0"}
    },
    "ldap": {
      "attributes": {"email":"mail","name":"cn","username":""},
      "bindDN": "",
      "existingSecret": "",
      "existingSecretKey": "password",
      "searchBase": "",
      "searchFilter": "(objectClass=person)",
      "url": ""
    },
    "mesh": "",
    "modules": {
      "browser": {"enabled":false},
      "ldap": {"enabled":false},
      "sandbox": {"enabled":false}
    },
    "monitoring": {
      "alerts": {"backupHours":0,"enabled":true},
      "dashboard": {"annotations":{},"enabled":false,"labels":{"grafana_dashboard":"1"}},
      "enabled": false,
      "from": [
        {"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}
      ],
      "interval": "30s",
      "labels": {}
    },
    "namePrefix": "nap",
    "networkPolicies": {
      "enabled": true,
      "metadataEgress": "auto",
      "usersFrom": [],
      "workspaceEgress": {"allow":[],"deny":[],"dns":{"addresses":["169.254.20.10/32","fd00::10/128"],"namespace":"","podLabels":{},"ports":[]},"mode":"auto"}
    },
    "openshift": {
      "enabled": false
    },
    "proxy": {
      "httpProxy": "",
      "httpsProxy": "",
      "noProxy": []
    },
    "publicUrls": {
      "browser": "",
      "files": "",
      "sandbox": "",
      "web": ""
    },
    "rollout": {
      "surge": true
    },
    "scheduling": {
      "nodeSelector": {},
      "priorityClassName": "",
      "tolerations": []
    },
    "secrets": {
      "browser": {"existingSecret":""},
      "existingSecret": "",
      "sandbox": {"existingSecret":""}
    },
    "storage": {
      "afsController": {"accessMode":"ReadWriteOnce","existingClaim":"","size":"1Gi","storageClass":""},
      "shared": {"accessMode":"ReadWriteMany","existingClaim":"","nfs":{"csi":false,"mountOptions":["nfsvers=4.1","hard","noresvport"],"path":"","server":""},"nodeLocal":{"enabled":false,"node":"","path":"/var/lib/neutree/shared"},"size":"","storageClass":""}
    },
    "trustedCAs": {
      "existingSecret": "",
      "existingSecretKey": "ca.crt"
    },
    "upgrade": {
      "adoptDatabase": "",
      "allowKeptValues": false,
      "allowMajorUpgrade": false,
      "allowOlderImages": false,
      "allowOperatorChange": false,
      "allowRefusedWorkloads": false,
      "allowRenames": false,
      "allowSecretChanges": false,
      "rebuildWorkspaces": false
    },
    "workspaces": {
      "createNamespace": true,
      "multiReplica": false,
      "namespace": "",
      "nodeSelector": {},
      "sidecarResources": {"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"25m","memory":"64Mi"}},
      "storageClass": "",
      "storageSize": "10Gi"
    }
  },
  "uninstall": {
    "allowOperatorRemoval": false,
    "deleteData": ""
  }
}
{{- end }}
