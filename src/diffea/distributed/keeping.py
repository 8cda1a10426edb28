"""Keeping workers: between two steps they look idle, and an adaptive cluster would send them away, with the columns they hold."""

from __future__ import annotations

import re
import time
from typing import Any

from distributed import Scheduler, SchedulerPlugin
from distributed.scheduler import WorkerState

KEEP = 60.0  # seconds after the last step
OURS = re.compile(r"\.(read|bundle|reduce)-[0-9a-f]{32}")


class KeepWorkers(SchedulerPlugin):
    """Asks dask not to retire workers, while a driver reads or makes a step at least every ``KEEP`` seconds."""

    name = "diffea-keeps-workers"
    idempotent = True

    def valid_workers_downscaling(self, scheduler: Scheduler, workers: list[WorkerState]) -> list[WorkerState]:
        """Those that may go."""
        groups = [group for group in scheduler.task_groups.values() if OURS.search(str(group.name))]
        under_way = any(group.states[state] for group in groups for state in ("processing", "queued", "no-worker"))
        return [] if under_way or time.time() - max((group.stop for group in groups), default=0.0) < KEEP else workers


def keep_workers(client: Any) -> None:
    """Ask the scheduler of this client so, once."""
    client.register_plugin(KeepWorkers())
