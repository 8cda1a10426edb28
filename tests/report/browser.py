"""A page in headless Chromium, asked through its DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tornado.websocket import websocket_connect

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "about:blank")


class Page:
    """An open page.

    Attributes:
        complaints: what the console and the network said.
    """

    def __init__(self, socket: Any) -> None:
        self.complaints: list[str] = []
        self._socket, self._numbers, self._session = socket, itertools.count(1), {}

    async def ask(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        await self._socket.write_message(
            json.dumps({"id": number, "method": method, "params": params, **self._session})
        )
        while (answer := await self._next()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def _next(self) -> Any:
        answer = json.loads(await asyncio.wait_for(self._socket.read_message(), 60))
        if answer.get("method") in (
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Network.loadingFailed",
        ):
            self.complaints.append(json.dumps(answer["params"])[:300])
        return answer

    async def open(self, path: Path, width: int) -> None:
        target = await self.ask("Target.createTarget", url="about:blank")
        session = await self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = {"sessionId": session["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")
        await self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        await self.ask("Page.navigate", url=path.as_uri())
        while (await self._next()).get("method") != "Page.loadEventFired":
            pass

    async def value(self, expression: str) -> Any:
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")


@contextlib.asynccontextmanager
async def opened(path: Path, width: int, profile: Path) -> AsyncIterator[Page]:
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM,
        f"--user-data-dir={profile}",
        *OPTIONS,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    try:
        while b"DevTools listening on" not in (line := await asyncio.wait_for(process.stderr.readline(), 60)):
            assert line, "chromium ended before it listened"
        page = Page(await websocket_connect(line.split()[-1].decode(), max_message_size=1 << 28))
        await page.open(path, width)
        yield page
    finally:
        process.terminate()
        await process.wait()
