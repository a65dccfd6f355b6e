"""Scores in, a choice out. Pure: it sees numbers, never items, and never the test split."""

from adamergex.select.choice import Candidate, chosen, confidence

__all__ = ["Candidate", "chosen", "confidence"]
