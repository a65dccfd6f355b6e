"""Adapters tried out: T, the merge at any t and the base model, side by side."""

from adamergex.trial.entries import Entry, entries

__all__ = ["Entry", "entries"]
