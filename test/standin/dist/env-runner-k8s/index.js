// stand-in: env-runner-k8s
