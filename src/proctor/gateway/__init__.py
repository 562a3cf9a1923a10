"""The only way out of a sandbox: a process of its own that connects to what the policy allows, and says so."""
