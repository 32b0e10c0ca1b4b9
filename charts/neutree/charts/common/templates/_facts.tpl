{{/*
Facts about the platform's services. Written by make generate from internal/platform: change them there.
Usage: $facts := include "common.facts" . | fromJson
*/}}
{{- define "common.facts" -}}
{
  "migrationSources": [
    {"name":"control-plane","image":"controlPlane","folder":"/app/migrations"},
    {"name":"gateway","image":"gateway","folder":"/app/channel-gateway/migrations"},
    {"name":"sandbox","image":"sandboxService","folder":"/app/sandbox-service/migrations"},
    {"name":"browser","image":"browserService","folder":"/app/browser-service/migrations"}
  ],
  "order": ["cp","cg","skills","office-converter","afs-controller","env-runner-k8s","scheduler","sandbox","browser","coturn"],
  "services": {
    "afs-controller": {
      "component": "afs-controller",
      "portName": "grpc",
      "replace": "SQLite has one writer: two pods on one file could destroy it.",
      "grace": {"seconds":5,"why":"It does not listen for the signal to stop, so waiting longer would only keep its successor from starting."},
      "fixedName": true,
      "container": "afs-controller",
      "image": "afs",
      "port": 9100,
      "servicePort": 9100
    },
    "browser": {
      "component": "browser",
      "module": "browser",
      "portName": "http",
      "nodePort": "browser",
      "replace": "Who is about to log in, and which browsers are ready, it remembers in memory.",
      "start": {"seconds":120},
      "grace": {"seconds":5,"why":"It does not listen to SIGTERM, so longer would only be a longer gap."},
      "trustedCAs": true,
      "container": "browser",
      "image": "browserService",
      "port": 3005,
      "servicePort": 3005,
      "health": "/health",
      "connections": 10,
      "migrations": "browser"
    },
    "cg": {
      "component": "channel-gateway",
      "portName": "http",
      "start": {"seconds":120},
      "grace": {"seconds":40},
      "awaitsControlPlane": true,
      "trustedCAs": true,
      "proxy": "node",
      "container": "channel-gateway",
      "image": "gateway",
      "port": 3002,
      "servicePort": 3002,
      "health": "/health",
      "surge": true,
      "connections": 10,
      "migrations": "gateway"
    },
    "coturn": {
      "component": "coturn",
      "module": "coturn",
      "portName": "turn",
      "replace": "On its node's network two pods would want the same port.",
      "grace": {"seconds":10},
      "user": 65534,
      "capability": {"name":"NET_BIND_SERVICE","why":"The program's file asks for it, and without it is not executed."},
      "fixedName": true,
      "container": "coturn",
      "image": "coturn",
      "port": 3478,
      "servicePort": 3478
    },
    "cp": {
      "component": "control-plane",
      "portName": "http",
      "nodePort": "web",
      "start": {"seconds":25,"why":"It waits for the database in its init container, so one that does not listen by now lost it while it started: it never will, and lives on all the same."},
      "grace": {"seconds":40},
      "kubernetesAPI": true,
      "trustedCAs": true,
      "proxy": "reads",
      "container": "control-plane",
      "image": "controlPlane",
      "port": 3000,
      "servicePort": 3000,
      "health": "/healthz",
      "surge": true,
      "connections": 35,
      "migrations": "control-plane"
    },
    "env-runner-k8s": {
      "component": "environment-runner",
      "replace": "Two runners would both apply every change.",
      "awaitsControlPlane": true,
      "kubernetesAPI": true,
      "container": "env-runner-k8s",
      "image": "envRunner",
      "connections": 20
    },
    "office-converter": {
      "component": "office-converter",
      "portName": "http",
      "start": {"seconds":120},
      "user": 1001,
      "writableRoot": "LibreOffice and Chromium keep their profiles in several places.",
      "container": "gotenberg",
      "image": "officeConverter",
      "port": 3000,
      "servicePort": 3007,
      "health": "/health",
      "surge": true
    },
    "sandbox": {
      "component": "sandbox",
      "module": "sandbox",
      "portName": "http",
      "nodePort": "sandbox",
      "replace": "Who is about to log in it remembers in memory.",
      "start": {"seconds":120},
      "grace": {"seconds":5,"why":"It does not listen to SIGTERM, so longer would only be a longer gap."},
      "trustedCAs": true,
      "container": "sandbox",
      "image": "sandboxService",
      "port": 3006,
      "servicePort": 3006,
      "health": "/health",
      "connections": 10,
      "migrations": "sandbox"
    },
    "scheduler": {
      "component": "scheduler",
      "replace": "Two schedulers at once would run twice as many jobs as their limits say.",
      "grace": {"seconds":45},
      "stopCommand": {"command":["node","-e","process.kill(1, 'SIGINT')"],"why":"It finishes its jobs on SIGINT only, and its image has no kill."},
      "awaitsControlPlane": true,
      "trustedCAs": true,
      "proxy": "node",
      "container": "scheduler",
      "image": "scheduler",
      "connections": 50
    },
    "skills": {
      "component": "skills",
      "portName": "http",
      "start": {"seconds":120},
      "awaitsControlPlane": true,
      "trustedCAs": true,
      "proxy": "node",
      "cache": {"volume":"dufs-cache","path":"/var/cache/skills-content"},
      "container": "skills-content-service",
      "image": "skills",
      "port": 3008,
      "servicePort": 3008,
      "health": "/health",
      "surge": true,
      "connections": 8
    }
  },
  "hookJobs": [
    {"name":"guard","component":"guard","awaited":true,"upgrades":true},
    {"name":"prepare","component":"prepare","awaited":true,"database":true,"upgrades":true},
    {"name":"rollback","component":"rollback","awaited":true,"database":true},
    {"name":"pull","component":"pull","awaited":true,"stays":true,"upgrades":true},
    {"name":"migrate","component":"migrate","awaited":true,"database":true,"stays":true,"upgrades":true},
    {"name":"bootstrap","component":"bootstrap","database":true,"upgrades":true},
    {"name":"seed","component":"seed","awaited":true,"database":true,"upgrades":true},
    {"name":"rebuild","component":"rebuild","awaited":true,"upgrades":true},
    {"name":"test","component":"test","database":true},
    {"name":"backup","component":"backup","awaited":true,"database":true,"stays":true,"upgrades":true},
    {"name":"backup-bootstrap","component":"backup","stays":true},
    {"name":"restore","component":"backup","stays":true},
    {"name":"rotate","component":"rotate","database":true,"stays":true},
    {"name":"teardown","component":"teardown","awaited":true},
    {"name":"delete","component":"delete","awaited":true}
  ],
  "reservedConnections": 43,
  "operator": {
    "kubernetes": "1.30",
    "lease": "db9c8771.cnpg.io",
    "clusterCRD": "clusters.postgresql.cnpg.io",
    "crds": ["backups.postgresql.cnpg.io","clusterimagecatalogs.postgresql.cnpg.io","clusters.postgresql.cnpg.io","databaseroles.postgresql.cnpg.io","databases.postgresql.cnpg.io","failoverquorums.postgresql.cnpg.io","imagecatalogs.postgresql.cnpg.io","poolers.postgresql.cnpg.io","publications.postgresql.cnpg.io","scheduledbackups.postgresql.cnpg.io","subscriptions.postgresql.cnpg.io"],
    "metrics": 8080,
    "fixedParameters": ["allow_system_table_mods","archive_cleanup_command","archive_command","archive_mode","bonjour","bonjour_name","cluster_name","config_file","data_directory","data_sync_retry","event_source","external_pid_file","hba_file","hot_standby","ident_file","jit_provider","listen_addresses","log_destination","log_directory","log_file_mode","log_filename","log_rotation_age","log_rotation_size","log_truncate_on_rotation","logging_collector","pg_failover_slots.primary_dsn","pg_failover_slots.standby_slot_names","port","primary_conninfo","primary_slot_name","promote_trigger_file","recovery_end_command","recovery_min_apply_delay","recovery_target","recovery_target_action","recovery_target_inclusive","recovery_target_lsn","recovery_target_name","recovery_target_time","recovery_target_timeline","recovery_target_xid","restart_after_crash","restore_command","shared_preload_libraries","ssl","ssl_ca_file","ssl_cert_file","ssl_crl_file","ssl_dh_params_file","ssl_ecdh_curve","ssl_key_file","ssl_passphrase_command","ssl_passphrase_command_supports_reload","ssl_prefer_server_ciphers","stats_temp_directory","synchronized_standby_slots","synchronous_standby_names","syslog_facility","syslog_ident","syslog_sequence_numbers","syslog_split_messages","temp_tablespaces","unix_socket_directories","unix_socket_group","unix_socket_permissions"]
  },
  "database": {
    "port": 5432,
    "status": 8000,
    "metrics": 9187,
    "image": "cloudnative-pg/postgresql:17.10"
  },
  "workspaces": {
    "app": "tos",
    "agent": 3001,
    "files": 9101,
    "memory": 9102
  },
  "internet": [
    {"cidr":"0.0.0.0/0","except":["0.0.0.0/8","10.0.0.0/8","100.64.0.0/10","127.0.0.0/8","168.63.129.16/32","169.254.0.0/16","172.16.0.0/12","192.0.0.0/24","192.168.0.0/16","198.18.0.0/15","224.0.0.0/4","240.0.0.0/4"]},
    {"cidr":"::/0","except":["::/127","64:ff9b:1::/48","2001::/32","2002::/16","fc00::/7","fe80::/10","fec0::/10","ff00::/8","64:ff9b::/104","64:ff9b::a00:0/104","64:ff9b::6440:0/106","64:ff9b::7f00:0/104","64:ff9b::a83f:8110/128","64:ff9b::a9fe:0/112","64:ff9b::ac10:0/108","64:ff9b::c000:0/120","64:ff9b::c0a8:0/112","64:ff9b::c612:0/111","64:ff9b::e000:0/100","64:ff9b::f000:0/100"]}
  ],
  "butMetadata": [
    {"cidr":"0.0.0.0/0","except":["100.100.100.200/32","168.63.129.16/32","169.254.0.0/16","192.0.0.192/32"]},
    {"cidr":"::/0","except":["fd00:ec2::254/128","fe80::/10","64:ff9b::6464:64c8/128","64:ff9b::a83f:8110/128","64:ff9b::a9fe:0/112","64:ff9b::c000:c0/128"]}
  ],
  "runtimeImages": [
    {"image":"agent","variable":"AGENT_IMAGE_PREFIX","in":"workspaces"},
    {"image":"afs","variable":"AFS_IMAGE","in":"workspaces"},
    {"image":"memoryFuse","variable":"MEMORY_FUSE_IMAGE","in":"workspaces"},
    {"image":"chromium","variable":"BROWSER_IMAGE","in":"sandboxes"}
  ],
  "amd64Only": ["neutree-ai/agent-platform/chromium-headful:v0.1.0","neutree-ai/agent-platform/nap-agent-claude-code:v0.2.0","neutree-ai/agent-platform/nap-agent-codex:v0.2.0","neutree-ai/agent-platform/nap-browser:v0.2.0","neutree-ai/agent-platform/nap-cg:v0.2.0","neutree-ai/agent-platform/nap-cp:v0.2.0","neutree-ai/agent-platform/nap-memory-fuse:v0.2.0","neutree-ai/agent-platform/nap-sandbox:v0.2.0","neutree-ai/agent-platform/nap-scheduler:v0.2.0","neutree-ai/agent-platform/nap-skills-content-service:v0.2.0"],
  "closedPaths": ["/mcp","/metrics","/_cp","/workspace/v1","/svc/v1"],
  "remotePaths": ["/env/v1","/env-gateway"],
  "front": {
    "name": "front",
    "portName": "public",
    "port": 3080
  }
}
{{- end }}
