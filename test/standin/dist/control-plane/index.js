// stand-in: control-plane
