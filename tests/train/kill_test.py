"""Kills a pretraining run with SIGKILL at random moments; every restart must find a valid checkpoint and the end must have
the bytes of the undisturbed run. Usage: kill_test.py CLOZE [KILLS]. Runs when CLOZE_TEST_LONG is set.

Checkpoints are written after every step, so that most kills fall into a save."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STEPS = 60
WORDS = "the a red green blue cat dog bird sees likes follows and near under old young house tree river stone".split()


def make_text(file):
    rng = random.Random(1)
    lines = []
    for _ in range(80):
        for _ in range(8):
            lines.append(" ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 14))) + " .")
        lines.append("")
    file.write_text("\n".join(lines))


def command(cloze, folder, output):
    return [cloze, "pretrain", "--data", folder / "data", "--model", "tiny", "--output", output, "--max-seq-length", "32",
            "--global-batch-size", "8", "--max-steps", str(STEPS), "--learning-rate", "1e-3", "--seed", "3",
            "--save-every", "1", "--keep-checkpoints", "2", "--log-every", "1", "--device", "cpu"]


def checkpoints(output):
    return sorted(path for path in output.glob("checkpoint-*") if path.name.split("-")[1].isdigit())


def contents(output):
    last = checkpoints(output)[-1]
    return {name: (last / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}, last.name


def logged_steps(output):
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [line["step"] for line in lines if line["type"] == "train"]


def run_and_kill(arguments, seconds):
    """True when the process was still running when it was killed."""
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(arguments, stdout=nowhere, stderr=nowhere)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def main():
    if not os.environ.get("CLOZE_TEST_LONG"):
        print("[skipped] kills take a minute: set CLOZE_TEST_LONG=1")
        return
    cloze, wanted = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cloze-kill-"))
    make_text(folder / "text.txt")
    subprocess.run([cloze, "vocab", "--input", folder / "text.txt", "--vocab-size", "120", "--output",
                    folder / "vocab.txt"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([cloze, "prepare", "--input", folder / "text.txt", "--vocab", folder / "vocab.txt", "--output",
                    folder / "data"], check=True, stdout=subprocess.DEVNULL)
    start = time.monotonic()
    subprocess.run(command(cloze, folder, folder / "whole"), check=True, stdout=subprocess.DEVNULL)
    whole_seconds = time.monotonic() - start
    expected = contents(folder / "whole")

    seed = random.randrange(1 << 32)
    print(f"moments drawn from seed {seed}", flush=True)
    rng = random.Random(seed)
    kills = runs = 0
    while kills < wanted:
        output = folder / f"killed-{runs}"
        runs += 1
        # Enough time to get ahead between two kills, too little to finish undisturbed.
        for _ in range(5):
            kills += run_and_kill(command(cloze, folder, output), rng.uniform(0.02, 0.5) * whole_seconds)
        subprocess.run(command(cloze, folder, output), check=True, stdout=subprocess.DEVNULL)
        if contents(output) != expected:
            sys.exit(f"after {kills} kills: {output} ends with other bytes than the undisturbed run; kept in {folder}")
        if logged_steps(output) != list(range(1, STEPS + 1)):
            sys.exit(f"after {kills} kills: metrics.jsonl does not have each step once: {logged_steps(output)}")
        leftovers = [path.name for path in output.iterdir() if ".tmp-" in path.name or ".old-" in path.name]
        if leftovers:
            sys.exit(f"left behind: {leftovers}")
        shutil.rmtree(output)
    print(f"{kills} kills in {runs} runs of {STEPS} steps: every end had the bytes of the undisturbed run")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
