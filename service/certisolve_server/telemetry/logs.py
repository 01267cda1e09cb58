"""Log lines: time, level, logger, event name and key=value."""

import logging


def configure_logging(level: str) -> None:
    """Send the log to standard error.

    Args:
        level: debug, info, warning or error.
    """
    # What it says at INFO, the banner says better.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
