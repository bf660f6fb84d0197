"""The benchmark's plan and report; and samples of it, where nginx and openssl are. It measures nothing here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import choose
from benchmarks.connections import WHO, connections_table
from benchmarks.imports import IMPORTS, Import, imports_table
from benchmarks.measure import CLIENTS, Sample, run_client
from benchmarks.nginx import running_nginx
from benchmarks.peers import PEERS, ROOT, Peer
from benchmarks.picture import draw
from benchmarks.plan import CASES, CHUNK, CHUNKS, LARGE, SMALL, Case
from benchmarks.raw_server import running_raw_server
from benchmarks.report import Report
from tests.servers import require


def test_every_case_has_its_baseline_and_its_limit_among_those_who_take_part() -> None:
    for case in CASES:
        there = {peer.key for peer in PEERS if peer.takes_part(case)}
        assert case.baseline in there
        assert case.limit is None or case.limit in there


def test_every_peer_has_requirements_and_what_each_of_its_cases_calls() -> None:
    for peer in PEERS:
        cases = [case for case in CASES if peer.takes_part(case)]
        assert cases
        if peer.environment:
            assert (ROOT / "benchmarks" / "peers" / f"{peer.environment}.txt").exists()
        if peer.groups == ("gateway",):
            continue
        source = (CLIENTS / f"{peer.module}.py").read_text()
        for case in cases:
            assert f"def {case.what}(" in source or f"{case.what} =" in source or f"{case.what}, " in source


def test_all_requirements_are_pinned() -> None:
    for path in (ROOT / "benchmarks" / "peers").glob("*.txt"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert [line for line in lines if "==" not in line and line != "-e ."] == []


def test_the_default_install_is_measured_without_anything_optional() -> None:
    lines = (ROOT / "benchmarks" / "peers" / "httpcore.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["-e ."]


def test_keys_are_there_once() -> None:
    assert len({case.key for case in CASES}) == len(CASES)
    assert len({peer.key for peer in PEERS}) == len(PEERS)
    assert set(WHO) <= {peer.key for peer in PEERS}
    assert {environment for environment, _ in IMPORTS.values()} <= {peer.environment for peer in PEERS}


def test_no_word_chooses_everything() -> None:
    choice = choose([], quick=False)
    assert list(choice.cases) == list(CASES)
    assert list(choice.peers) == list(PEERS)
    assert choice.connections
    assert choice.imports


def test_quick_chooses_fewer() -> None:
    choice = choose([], quick=True)
    assert 0 < len(choice.cases) < len(CASES)
    assert {peer.key for peer in choice.peers} > {"httpcore", "httpcore-fast", "aiohttp", "bare"}
    assert {case.group for case in choice.cases} == {case.group for case in CASES}


def test_a_word_of_a_case_chooses_cases_and_one_of_a_client_chooses_clients() -> None:
    choice = choose(["get-2000", "aiohttp"], quick=False)
    assert [case.key for case in choice.cases] == ["get-2000"]
    assert [peer.key for peer in choice.peers] == ["aiohttp", "aiohttp-uvloop"]
    assert not choice.connections
    assert not choice.imports


def test_a_word_of_a_client_alone_leaves_all_its_cases() -> None:
    choice = choose(["pycurl"], quick=False)
    assert [peer.key for peer in choice.peers] == ["pycurl"]
    assert "blocking-1" in {case.key for case in choice.cases}
    assert not choice.imports


def test_imports_alone_can_be_chosen() -> None:
    choice = choose(["imports"], quick=False)
    assert (list(choice.cases), list(choice.peers), choice.connections, choice.imports) == ([], [], False, True)


def _case(key: str) -> Case:
    return next(case for case in CASES if case.key == key)


def _peer(key: str) -> Peer:
    return next(peer for peer in PEERS if peer.key == key)


def _samples(*microseconds: float) -> list[Sample]:
    return [Sample(1000, each / 1000, 0.5, 0, 20_000_000) for each in microseconds]


@pytest.fixture
def report() -> Report:
    samples = {
        ("get-50", "httpcore"): _samples(40, 50, 60),
        ("get-50", "aiohttp"): _samples(90, 100, 130),
        ("get-50", "bare"): _samples(20, 25, 30),
        ("get-50", "httpcore-fast-uvloop"): _samples(20),
        ("get-50", "aiohttp-uvloop"): _samples(80),
        ("get-50", "httpx"): _samples(5000),
        ("get-2000", "httpcore"): _samples(60),
        ("download", "httpcore"): _samples(LARGE / 1e3),
        ("http2-get-50", "httpcore"): _samples(100),
    }
    imports = {"httpcore": [Import(0.05, 100, 8_000_000), Import(0.07, 100, 8_000_000)]}
    connections = (5000, {("httpcore", "idle"): [10240.0], ("httpcore", "active"): [20480.0]})
    return Report(samples, {"Python": "3.11"}, imports, connections)


def test_ratio_is_of_medians(report: Report) -> None:
    assert report.ratio(_case("get-50"), _peer("httpcore"), "aiohttp") == pytest.approx(0.5)
    assert report.ratio(_case("get-50"), _peer("httpcore"), "bare") == pytest.approx(2.0)


def test_ratio_is_to_the_same_loop_where_that_was_measured(report: Report) -> None:
    assert report.ratio(_case("get-50"), _peer("httpcore-fast-uvloop"), "aiohttp") == pytest.approx(0.25)
    assert report.ratio(_case("get-50"), _peer("httpcore-fast-uvloop"), "bare") == pytest.approx(0.8)


def test_ratio_to_what_was_not_measured_is_none(report: Report) -> None:
    assert report.ratio(_case("http2-get-50"), _peer("httpcore"), "httpx") is None
    assert report.ratio(_case("http2-get-50"), _peer("httpcore"), None) is None


def test_table_shows_medians_extremes_ratios_and_memory(report: Report) -> None:
    text = report.markdown()
    row = "| small GET, 50 at a time | httpcore | 50.0 µs CPU each (40.0–60.0) | 0.50 | 2.00 "
    assert row + "| 2,000 per s (2,000–2,000) | 20 MB |" in text
    assert "| download of 100 MiB | httpcore | 1,000 MB per CPU-s (1,000–1,000) | – | – |" in text
    assert "50 at a time being 1: httpcore 1.20." in text
    assert "| httpcore | 10.0 (10.0–10.0) | 20.0 (20.0–20.0) |" in text
    assert "| httpcore | 60 ms (50–70) | 100 | 8.0 MB |" in text


def test_tables_have_as_many_cells_in_every_line(report: Report) -> None:
    for table in (report.markdown(), connections_table(*report.connections or (0, {})), imports_table(report.imports)):
        for block in table.split("\n\n"):
            lines = [line for line in block.splitlines() if line.startswith("|")]
            assert len({line.count("|") for line in lines}) <= 1


def test_written_json_has_every_sample(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path)
    document = json.loads((tmp_path / "latest.json").read_text())
    assert (tmp_path / "latest.md").read_text() == report.markdown()
    first = document["results"][0]
    assert (first["case"], first["client"], first["cpu_us_per_request"]) == ("get-50", "httpcore", 50.0)
    assert [len(sample) for sample in first["samples"]] == [len(document["sample_fields"])] * 3
    assert document["connections"]["count"] == 5000


def test_picture_is_xml_with_a_bar_for_each_client_and_a_cut_for_the_longest(report: Report) -> None:
    picture = ElementTree.fromstring(draw(report))
    names = "{http://www.w3.org/2000/svg}"
    bars = picture.findall(f"{names}rect")
    assert len(bars) == 8  # the case that is not in the picture has none
    assert len(picture.findall(f"{names}path")) == 1
    assert max(float(bar.attrib["width"]) for bar in bars) < 200
    assert "httpx" in {text.text for text in picture.findall(f"{names}text")}


def _harness(url: str, what: str, expect: int, *more: str | Path) -> Sample:
    harness = CLIENTS / "harness.py"
    command: list[str | Path] = [sys.executable, harness, "with_httpcore", url, "2", "20", what]
    command += ["--expect", str(expect), "--seconds", "5", "--warm-up", "4", *more]
    return Sample(**run_client(command, what, None))


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness is run by this Python, not in an environment that has the package."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.usefixtures("importable")
def test_chunks_of_the_raw_server_are_read_by_the_harness() -> None:
    with running_raw_server(None) as origin:
        sample = _harness(f"{origin}/chunks", "download", CHUNKS * CHUNK)
    assert sample.requests == 20
    assert sample.cpu_seconds > 0
    assert sample.peak_bytes > 1_000_000


@pytest.mark.usefixtures("importable")
def test_harness_fails_on_a_response_of_another_size() -> None:
    with running_raw_server(None) as origin, pytest.raises(SystemExit, match="small failed"):
        _harness(f"{origin}/small", "small", 14)


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("client", ["with_httpcore", "with_bare"])
@pytest.mark.parametrize("state", ["head", "body"])
def test_connections_are_held_and_released(client: str, state: str) -> None:
    with running_raw_server(None) as origin:
        command: list[str | Path] = [sys.executable, CLIENTS / "harness_connections.py", client, origin]
        figures = run_client([*command, f"/held/{state}", "50", "asyncio"], state, None)
    assert set(figures) == {"bytes"}


@pytest.mark.usefixtures("importable")
def test_each_kind_of_work_is_done_against_nginx() -> None:
    require("nginx")
    require("openssl")
    with running_nginx(None) as nginx:
        trust = ("--authority", nginx.authority)
        small = len(SMALL)
        done = [
            _harness(f"{nginx.plain}/small", "small", small),
            _harness(f"{nginx.plain}/headers", "small", small),
            _harness(f"{nginx.plain}/small", "post", small),
            _harness(f"{nginx.plain}/small", "once", small),
            _harness(f"{nginx.tls}/small", "small", small, *trust),
            _harness(f"{nginx.http2}/small", "small", small, *trust, "--http2"),
            _harness(f"{nginx.plain}/upload", "upload", small, "--upload", str(128 * 1024)),
            _harness(f"{nginx.plain}/small", "blocking_small", small),
        ]
    assert [sample.requests for sample in done] == [20] * len(done)


@pytest.mark.usefixtures("importable")
def test_process_of_another_is_measured() -> None:
    sleeper = [shutil.which("sleep") or "sleep", "60"]
    with running_raw_server(None) as origin, subprocess.Popen(sleeper) as process:
        try:
            sample = _harness(f"{origin}/small", "small", len(SMALL), "--process", str(process.pid))
        finally:
            process.terminate()
    assert sample.cpu_seconds == 0
