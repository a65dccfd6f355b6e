"""Executing a plan and keeping what it made."""

from adamergex.run.local import Event, execute
from adamergex.run.publish import publish
from adamergex.run.store import Store

__all__ = ["Event", "Store", "execute", "publish"]
