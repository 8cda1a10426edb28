"""Keeping workers: between two steps they look idle, and an adaptive cluster would send them away, with the columns they hold."""

from __future__ import annotations

import re
import time
from typing import Any

from distributed import Scheduler, SchedulerPlugin

KEEP = 60.0  # seconds after the last step
UNHEARD = 1 / 6  # of that time, for which steps may be direct, and the scheduler not know of them
OURS = re.compile(r"\.(read|bundle|reduce)-[0-9a-f]{32}")


class KeepWorkers(SchedulerPlugin):
    """Tells an adaptive cluster that the workers it has are needed, while a driver reads or makes a step every ``KEEP`` seconds.

    Its maximum, and whoever scales it, still have their way.
    """

    name = "diffea-keeps-workers"
    idempotent = True

    async def start(self, scheduler: Scheduler) -> None:
        """Answer for the scheduler how many workers there should be."""
        self._scheduler = scheduler
        scheduler.handlers["adaptive_target"] = self.target

    def target(self, target_duration: str | float | None = None) -> int:
        """How many workers there should be."""
        usual = int(self._scheduler.adaptive_target(target_duration=target_duration))
        return max(usual, len(self._scheduler.workers)) if self._needed() else usual

    def _needed(self) -> bool:
        groups = [group for group in self._scheduler.task_groups.values() if OURS.search(str(group.name))]
        under_way = any(group.states[state] for group in groups for state in ("processing", "queued", "no-worker"))
        return under_way or time.time() - max((group.stop for group in groups), default=0.0) < KEEP + unheard()


def unheard() -> float:
    """Seconds after which the scheduler is to hear of a step again."""
    return UNHEARD * KEEP


def keep_workers(client: Any) -> None:
    """Ask the scheduler of this client so, once."""
    client.register_plugin(KeepWorkers())
