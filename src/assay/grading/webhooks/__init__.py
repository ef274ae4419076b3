"""Tells other systems what became of submissions: docs/webhooks.md.

signature.py      secrets, and what they sign
address.py        where a message may go, and where not
retry.py          what becomes of a message that did not arrive
message.py        what it says
names.py          looks up names, each course for itself
post.py           one request; the only module that speaks HTTP
sender.py         takes what is to be sent, and sees to it that it is
registrations.py  what teachers ask for
"""
