"""Executing a plan and keeping what it made."""

from adamergex.run.local import execute
from adamergex.run.publish import publish
from adamergex.run.schedule import Event
from adamergex.run.store import Store

__all__ = ["Event", "Store", "execute", "publish"]
