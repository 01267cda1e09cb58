"""The parts of benchmarks/ that could put a wrong number into a table."""

import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
read_wrk = runpy.run_path(str(BENCHMARKS / "wrk.py"))["read_wrk"]
write_section = runpy.run_path(str(BENCHMARKS / "publish.py"))["write_section"]
cpu_s = runpy.run_path(str(BENCHMARKS / "cpu.py"))["cpu_s"]

REPORT = """Running 3s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Latency Distribution
     50%  612.00us
     75%    1.10ms
     90%    1.42ms
     99%    1.20s
  12345 requests in 3.00s, 200.00MB read
Requests/sec:   4115.00
"""


def test_wrks_report_is_read_in_milliseconds():
    read = read_wrk(REPORT)
    assert read.throughput == 4115.0
    assert read.p50_ms == pytest.approx(0.612)
    assert read.p99_ms == pytest.approx(1200.0)


@pytest.mark.parametrize("report", ["", REPORT + "Non-2xx or 3xx responses: 3\n"])
def test_a_failed_run_is_not_a_number(report):
    with pytest.raises(RuntimeError, match="wrk failed"):
        read_wrk(report)


def test_only_what_stands_between_the_marks_is_replaced(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- doors:begin -->\nold\n<!-- doors:end -->\nafter\n")
    write_section("doors", ["new"], path)
    write_section("doors", ["newer"], path)
    text = path.read_text()
    assert "newer" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_a_file_without_the_marks_is_left_alone(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("nothing")
    with pytest.raises(ValueError, match="lacks"):
        write_section("doors", ["new"], path)


@pytest.mark.parametrize("name", ["doors", "queue"])
def test_the_published_page_has_the_marks(name):
    text = (BENCHMARKS / "README.md").read_text()
    assert text.index(f"<!-- {name}:begin -->") < text.index(f"<!-- {name}:end -->")


def test_cpu_time_is_that_of_the_process():
    before, mine = cpu_s(os.getpid()), time.process_time()
    while time.process_time() < mine + 0.2:
        pass
    assert cpu_s(os.getpid()) - before == pytest.approx(time.process_time() - mine, abs=0.03)


def test_the_benchmark_of_the_queue_does_not_hide_pythons_own():
    program = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import queue; queue.Queue()"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_benchmark_of_the_queue_starts():
    command = [sys.executable, str(BENCHMARKS / "queue.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "--write" in done.stdout
