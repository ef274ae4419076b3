"""What drivers have in common whose sandboxes an orchestrator puts somewhere, each in a container.

registry.py   images where its machines find them
stream.py     a byte stream through an exec session, which is a WebSocket
"""
