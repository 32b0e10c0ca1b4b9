// stand-in: sandbox-service
