"""Lists of users: from a file, through a client, into a file, and carried on with after any end."""

from profilekit.bulk.job import Job
from profilekit.bulk.sending import Progress
from profilekit.bulk.source import Source
from profilekit.bulk.steps import Outlook, Report, look_ahead, run

__all__ = ["Job", "Outlook", "Progress", "Report", "Source", "look_ahead", "run"]
