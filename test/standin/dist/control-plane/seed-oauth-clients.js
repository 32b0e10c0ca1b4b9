// stand-in: seed-oauth-clients
