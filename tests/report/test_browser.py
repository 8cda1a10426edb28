"""The report as a reader sees it: on a desk, on a phone, in the dark, and printed."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from tests.report import make_out as made
from tests.report.browser import CHROMIUM, opened

from diffea import report

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine, in which to look at the report")
LOADED = "[...document.images].filter(image => image.complete && image.naturalWidth > 50).length"
TALLEST = "Math.max(...[...document.querySelectorAll('tr')].map(row => row.offsetHeight))"
CUT = "[...document.querySelectorAll('table')].filter(table => table.scrollWidth > table.clientWidth + 1).map(table => table.innerText.slice(0, 60))"
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A variant with long names, and the page that compares variants."""
    folder = tmp_path_factory.mktemp("browser")
    diagnostics = made.make_diagnostics()
    diagnostics["trust"]["few_events"] = [{"bin": f"untagged[{bin_}]", "events": 6.2} for bin_ in range(12)]
    made.make_out(
        folder / "longer",
        variant="longer",
        title="A search with a title of many words, /" + "and_a_name_that_nobody_breaks_" * 4,
        **diagnostics,
        verdict="doubtful because " + "a_bin_of_a_channel_with_a_long_name[3], " * 5,
    )
    report.write(folder, ("svg",))
    return folder


async def _look(path: Path, width: int, profile: Path) -> dict[str, Any]:
    async with opened(path, width, profile) as page:
        seen = {"images": await page.value("document.images.length"), "loaded": await page.value(LOADED)}
        seen["tallest row"] = await page.value(TALLEST)
        seen["wide"] = await page.value(WIDE)
        seen["cut"] = await page.value(CUT)
        colour = "getComputedStyle(document.body)[{!r}]"
        seen["light"] = [await page.value(colour.format(part)) for part in ("backgroundColor", "color")]
        await page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        seen["dark"] = [await page.value(colour.format(part)) for part in ("backgroundColor", "color")]
        seen["paper of images"] = await page.value(
            "document.images[0] && getComputedStyle(document.images[0]).backgroundColor"
        )
        await page.ask("Emulation.setEmulatedMedia", media="print", features=[])
        seen["wide in print"] = await page.value(WIDE)
        seen["pdf"] = base64.b64decode((await page.ask("Page.printToPDF", printBackground=True))["data"])[:5]
        seen["complaints"] = page.complaints
        return seen


@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("page", ["report.html", "longer/report.html"])
def test_nothing_is_missing_sticks_out_or_fails(out: Path, tmp_path: Path, page: str, width: int) -> None:
    seen = asyncio.run(_look(out / page, width, tmp_path))
    assert seen["complaints"] == []
    assert seen["wide"] <= 0
    assert seen["cut"] == []
    assert seen["wide in print"] <= 0
    assert seen["tallest row"] < 400
    assert seen["loaded"] == seen["images"]
    assert (seen["images"] > 5) == page.startswith("longer")
    assert seen["pdf"] == b"%PDF-"
    (paper, ink), (dark_paper, dark_ink) = seen["light"], seen["dark"]
    assert _brightness(paper) - _brightness(ink) > 150
    assert _brightness(dark_ink) - _brightness(dark_paper) > 150
    assert _brightness(dark_paper) < 60
    if seen["images"]:
        assert _brightness(seen["paper of images"]) == 255


def _brightness(colour: str) -> float:
    return sum(map(float, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3
