"""Two identities: what decides the bits, and what decides the times."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from clipbench.running.environment import observe

pytestmark = pytest.mark.slow  # settled in processes of their own


def settled(threads: int) -> dict[str, Any]:
    """The environment a fresh process sees after it has settled on so many threads."""
    code = f"""
import json, torch
from dataclasses import asdict
from clipbench.running.environment import observe, settle
settle({threads})
seen = asdict(observe(torch.device("cpu"), threads={threads}, side_by_side=1))
seen["really"] = torch.get_num_threads()
print(json.dumps(seen))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seen: dict[str, Any] = json.loads(output)
    return seen


def test_threads_change_the_numerics_and_not_the_machine_and_a_process_changes_neither() -> None:
    one, again, two = settled(1), settled(1), settled(2)
    assert (one["really"], two["really"]) == (1, 2)
    assert one == again
    assert one["numerics"]["deterministic"] is True
    assert one["numerics_id"] != two["numerics_id"]
    assert one["machine_id"] == two["machine_id"]


def test_nothing_that_changes_by_the_minute_is_in_an_identity() -> None:
    place = observe(torch.device("cpu"), threads=1, side_by_side=2)
    assert set(place.machine) == {"cpu", "cores", "memory_gib", "gpus", "driver", "os", "python", "torch"}
    assert place.machine_id == observe(torch.device("cpu"), threads=1, side_by_side=1).machine_id
    assert place.device_name
