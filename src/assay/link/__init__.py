"""The link between a server and the nodes that hold its sandboxes: what both sides share.

frames.py         lengths and bytes               stream.py   a TLS connection, as a ByteStream
messages.py       what is said, as values         spec.py     a wish for a sandbox, as a message
certificates.py   who may speak with whom     claims.py   whose sandboxes are whose

A connection begins with a Hello that says what it is for, and ends with it:

    control   requests with numbers and their answers, in any order; a ping every second
    stream    the bytes of one sandbox's agent, both ways, and nothing else
    root      an archive of a root file system, in pieces

Every byte from the other side is hostile until it was read as one of these.
"""
