"""The wire of TWS: what the session and the server need of it."""

from quant.tws.codec.codec import Codec, Malformed, Unknown, split
from quant.tws.codec.frames import (
    MAGIC,
    ClientStream,
    FrameReader,
    Greeting,
    greeting_reply,
    negotiate,
    pack,
)
from quant.tws.codec.messages import (
    ANSWERS,
    HIGHEST_VERSION,
    LOWEST_VERSION,
    RAW_ID_VERSION,
    REQUESTS,
    message_class,
)
from quant.tws.codec.text import TextError

__all__ = [
    "ANSWERS",
    "HIGHEST_VERSION",
    "LOWEST_VERSION",
    "MAGIC",
    "RAW_ID_VERSION",
    "REQUESTS",
    "ClientStream",
    "Codec",
    "FrameReader",
    "Greeting",
    "Malformed",
    "TextError",
    "Unknown",
    "greeting_reply",
    "message_class",
    "negotiate",
    "pack",
    "split",
]
