"""By what the database knows a call: 16 bytes of a hash of its identity, and 4 of its source's.

A call may have further keys, of other names that its records bear. They are in the same indexes, so that nothing is
billed under any of them; once retention has let go of the call, they say that there was one.

The identity comes first, so that what is asked for by id alone lies together.
"""

import functools
import hashlib

from spanmeter.usage.call import TokenClass

KEY_BYTES = 20
HASH_BYTES = 16
"""Of them, for the identity."""
PLACES = {one.value: place for place, one in enumerate(TokenClass)}
"""Of the events of a call, by the last word of their ids."""
_sha256 = hashlib.sha256  # looked up once: every call that is billed has its key made


def call_identity(event_id: str) -> str | None:
    """Of the call whose event has this id; None for an event that stands alone, as a correction does."""
    identity, _, word = event_id.rpartition("-")
    return identity if word in PLACES else None


def key_of_call(source: str, identity: str) -> bytes:
    return _sha256(identity.encode()).digest()[:HASH_BYTES] + _source_key(source)


def key_alone(source: str, event_id: str) -> bytes:
    """Of an event that stands alone: no call has it."""
    return key_of_call(source, f"{event_id}\0")


def keys_of_event(source: str, event_id: str) -> tuple[bytes, ...]:
    """That it may stand under. Those of a call that had more than one row before calls had keys stand alone, too."""
    identity, alone = call_identity(event_id), key_alone(source, event_id)
    return (alone,) if identity is None else (key_of_call(source, identity), alone)


@functools.lru_cache(64)
def _source_key(source: str) -> bytes:
    return hashlib.sha256(source.encode()).digest()[: KEY_BYTES - HASH_BYTES]
