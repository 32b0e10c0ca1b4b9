// stand-in: seed-admin
