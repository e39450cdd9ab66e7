"""How both servers run: whoever sends what is no HTTP is told so, and fills no log with it."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError


class _OwnFaults(logging.Filter):
    """Passes over what clients did wrong: a scanner, TLS on this port, a header that is too long."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


_LOG = logging.getLogger(__name__)
_LOG.addFilter(_OwnFaults())


def runner_of(application: web.Application, **options: Any) -> web.AppRunner:
    """A runner without a log of requests; options as aiohttp has them."""
    return web.AppRunner(application, access_log=None, logger=_LOG, **options)
