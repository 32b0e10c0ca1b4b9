// stand-in: channel-gateway
