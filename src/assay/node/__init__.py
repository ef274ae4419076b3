"""A node: one driver of this machine, offered to servers that show a certificate.

server.py     connections: who it is, and what it is for
requests.py   what is asked over a connection for requests
carrier.py    the bytes of one sandbox, to and fro
roots.py      root file systems that servers send
owners.py     which sandbox is whose
"""
