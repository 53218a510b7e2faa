"""The MCP server: a database as a few tools and resources for agents. Needs the extra `mcp`."""
