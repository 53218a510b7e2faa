"""The query log, and what it tells: what is asked, what is slow, what finds nothing, and what to change about it."""

from outcrop.insights.log import QueryLog

__all__ = ["QueryLog"]
