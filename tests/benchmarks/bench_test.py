#!/usr/bin/env python3
"""cloze-bench and its peers without a GPU: `bench_test.py without_gpu|emulated|peers EXECUTABLE`."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

SVG = "{http://www.w3.org/2000/svg}"
OPS = {"attention_backward", "attention_forward", "bias_gelu_backward", "bias_gelu_forward", "bias_tanh_backward",
       "bias_tanh_forward", "cast", "column_sum", "cross_entropy", "embedding_backward", "embedding_forward",
       "gradient_norm", "layer_norm_backward", "layer_norm_forward", "optimizer_update", "rows_gather", "rows_scatter"}


def run(executable, *arguments, code=0):
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")
    done = subprocess.run([executable, *map(str, arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr}"
    return done.stdout + done.stderr


def sections_of(report):
    return {section["name"]: section["rows"] for section in report["sections"]}


def check_table(printed, rows, status):
    """One line a row, in columns: the status ends where the head "time us" ends."""
    lines = printed.splitlines()
    first = lines.index("kernels") + 2
    head = lines[first - 1]
    end = head.index("time us") + len("time us")
    for line, row in zip(lines[first:first + len(rows)], rows, strict=True):
        assert line.startswith(row["op"]), line
        assert line[head.index("shape"):].startswith(row["shape"] + " "), line
        assert line[:end].endswith(status(row)), (line, end)


def check_picture(path, labelled):
    root = ElementTree.parse(path).getroot()
    assert root.tag == SVG + "svg"
    texts = [(float(text.get("x")), float(text.get("y")), text.text) for text in root.iter(SVG + "text")]
    assert len(list(root.iter(SVG + "circle"))) == labelled
    column = max(x for x, _, _ in texts)
    heights = sorted(y for x, y, _ in texts if x == column)
    assert all(below - above >= 15 for above, below in zip(heights, heights[1:])), "labels lie on each other"
    assert max(heights) < float(root.get("height"))


def without_gpu(executable, folder):
    report_file, picture = folder / "bench.json", folder / "roofline.svg"
    printed = run(executable, "--json", report_file, "--svg", picture)
    report = json.loads(report_file.read_text())
    sections = sections_of(report)
    assert report["device"]["name"] == "none" and report["commit"] and report["date"] and "--json" in report["command"]
    assert "device: none" in printed and report["date"] in printed and report["command"] in printed
    kernels = sections["kernels"]
    assert {row["op"] for row in kernels} == OPS
    for rows in sections.values():
        for row in rows:
            assert row["status"] == "not measured" and "seconds" not in row, row
            assert row["bytes"] > 0 and row["flops"] >= 0 and row["limit_seconds"] > 0, row
    keys = [row["key"] for rows in sections.values() for row in rows]
    assert len(keys) == len(set(keys)), "two rows have one key"
    check_table(printed, kernels, lambda row: "not measured")
    dots = {(row["op"], row["variant"]) for row in kernels if row["flops"] > 0}
    check_picture(picture, len(dots))

    adamw = next(row for row in kernels if row["op"] == "optimizer_update" and row["variant"] == "AdamW")
    peers = folder / "peers.json"
    peers.write_text(json.dumps({"rows": [
        {"key": adamw["key"], "peer": "slow", "seconds": 3e-3}, {"key": adamw["key"], "peer": "fast", "seconds": 2e-3},
        {"key": "unknown/a \"quoted\" \\ key", "peer": "nobody", "seconds": 1e-3}]}))
    again = folder / "again.json"
    printed = run(executable, "report", "--from", report_file, "--peers", peers, "--json", again)
    assert "fast 2000" in printed and "slow" not in printed
    found = [row for row in sections_of(json.loads(again.read_text()))["kernels"] if "peer" in row]
    assert [row["key"] for row in found] == [adamw["key"]] and found[0]["peer_seconds"] == 2e-3
    assert json.loads(again.read_text())["ceilings"] == report["ceilings"]

    seconds = [{"seconds": second, "flops_per_second": rate * 1e12, "clocks_power_temperature": f"14{second}5 MHz"}
               for second, rate in ((1, 700), (2, 650), (3, 660))]
    report_file.write_text(json.dumps(dict(report, sustained=seconds)))
    printed = run(executable, "report", "--short", "--from", report_file)
    assert "sustained product: 3 s, mean 670 TFLOP/s (650 to 700), at the end 1435 MHz" in printed, printed

    filtered = folder / "filtered.json"
    run(executable, "kernels", "--filter", "cross_entropy/loss/", "--json", filtered)
    assert {row["variant"] for row in sections_of(json.loads(filtered.read_text()))["kernels"]} == {"loss"}
    assert "not understood" in run(executable, "kernels", "--no-such-flag", code=2)
    assert "needs a value" in run(executable, "--json", code=2)
    peers.write_text('{"rows": [')
    assert "not JSON at byte" in run(executable, "copy", "--peers", peers, code=1)
    assert "cannot be read" in run(executable, "report", "--from", folder / "absent.json", code=1)
    peers.write_text("{}")
    assert "not a report" in run(executable, "report", "--from", peers, code=1)


def emulated(executable, folder):
    report_file = folder / "bench.json"
    printed = run(executable, "--smoke", "--json", report_file, "--svg", folder / "roofline.svg")
    sections = sections_of(json.loads(report_file.read_text()))
    assert {row["op"] for row in sections["kernels"]} == OPS
    for row in sections["kernels"] + sections["copies"]:
        assert row["status"] in ("measured", "not offered on devices"), row
    measured = [row for row in sections["kernels"] if row["status"] == "measured"]
    assert len(measured) >= 10
    for row in measured:
        assert 0 < row["seconds_low_quartile"] <= row["seconds"] <= row["seconds_high_quartile"], row
    check_table(printed, sections["kernels"], lambda row: "" if row["status"] == "measured" else row["status"])
    ElementTree.parse(folder / "roofline.svg")


def peers(executable, folder):
    """Needs PyTorch. Tiny sizes on the CPU: the answers say nothing, but each op but LAMB has one."""
    cases, answers, joined = folder / "cases.json", folder / "peers.json", folder / "joined.json"
    run(executable, "kernels", "--json", cases)
    script = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "peers.py"
    run(sys.executable, script, "--cases", cases, "--json", answers, "--device", "cpu", "--budget", 500, "--sections",
        "eager", "attention", "updates", "cudnn")
    report = json.loads(answers.read_text())
    assert report["failures"] == [] and report["cudnn_graphs"] == "not measured: RuntimeError: no GPU"
    run(executable, "report", "--from", cases, "--peers", answers, "--json", joined)
    rows = sections_of(json.loads(joined.read_text()))["kernels"]
    assert {row["op"] for row in rows if "peer" in row} == OPS
    assert all("peer" not in row for row in rows if row["variant"] == "LAMB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        {"without_gpu": without_gpu, "emulated": emulated, "peers": peers}[sys.argv[1]](sys.argv[2], pathlib.Path(name))
