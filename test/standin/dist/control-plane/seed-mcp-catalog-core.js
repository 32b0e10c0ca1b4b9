// stand-in: seed-mcp-catalog-core
