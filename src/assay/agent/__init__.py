"""The agent protocol and its client: commands, files and ports of one sandbox."""
