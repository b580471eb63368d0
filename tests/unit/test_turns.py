"""Passes in one thread and replays in another do not hear each other."""

from __future__ import annotations

import threading

import numpy as np
from small_traces import photo, small_model

from vitwidgets.inspector import Inspector


def test_replays_and_passes_in_several_threads_do_not_disturb_each_other() -> None:
    inspector = Inspector(small_model(depth=6))
    expected = inspector.trace(photo(seed=1))
    attention, mlp = expected.attention(3).copy(), expected.mlp(4).copy()
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            for _ in range(60):
                np.testing.assert_array_equal(inspector.trace(photo(seed=1)).logits, expected.logits)
                inspector.logits([photo(seed=1)] * 2)
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while not done.is_set():
            again = inspector.trace(photo(seed=1))
            np.testing.assert_array_equal(again.attention(3), attention)
            np.testing.assert_array_equal(again.mlp(4), mlp)
    finally:
        thread.join()
    assert errors == []
