"""Clouds that cannot run here, as far as a seal meets them: written from their published REST protocols.

Each checks what the real one checks (signatures, audiences, key versions, scopes, clocks) and answers in its
shapes, errors too. The vendors' own SDKs talk to the same fakes in seal_sdk_test.py.
"""
