"""What outlives a server: sandboxes, leases, executions, environments and tokens, in a database."""
