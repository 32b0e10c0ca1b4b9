// stand-in: browser-service
