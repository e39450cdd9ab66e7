"""The picture of a load says what its table says."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from tests.simulate.loads import burst
from tests.simulate.play import play
from tests.simulate.plot import picture
from tests.simulate.scalers import SCALERS

SVG = "{http://www.w3.org/2000/svg}"


def test_a_row_for_the_arrivals_and_one_for_each_scaler() -> None:
    load = burst(1)
    outcomes = [play(load, scaler, 1) for scaler in SCALERS]
    root = ET.fromstring(picture(load, outcomes))
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    for outcome in outcomes:
        assert any(text.startswith(f"{outcome.scaler}: p99 wait {outcome.wait_p99:.0f} s") for text in texts)
    lines = [line.attrib["points"].split() for line in root.iter(f"{SVG}polyline")]
    # Two corners for each write, the start, and the two at the end.
    assert [len(line) for line in lines] == [2 * outcome.writes + 3 for outcome in outcomes]
    assert len(list(root.iter(f"{SVG}rect"))) == 1 + len({int(each.arrived) for each in load.messages})
