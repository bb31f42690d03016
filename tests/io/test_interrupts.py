"""What a signal does to a script of the user's, in a process forked for it."""

import os
import signal

import pytest
import torch

from netinvert import Encoder, Preprocessing, Run, prepare, recipe
from netinvert.io.running import deferred_interrupt


def ended(block):
    """How a process ends that runs a block, and what it did; signals act as they do in a script."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            block(lambda text: os.write(writing, text))
            code = 0
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        did = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), did


def steps(number, also=lambda: None):
    def block(did):
        with deferred_interrupt() as outer:
            with deferred_interrupt() as inner:
                os.kill(os.getpid(), number)
                also()
                did(b"step ")
            inner.end_if_terminated()  # is for the outer one to do
            did(b"inner " * inner.pending + b"outer " * outer.pending)
        outer.end_if_terminated()
        did(b"next image")

    return block


@pytest.mark.parametrize(
    ("number", "code", "did"),
    [
        (signal.SIGTERM, -signal.SIGTERM, b"step inner outer "),
        (signal.SIGINT, 0, b"step inner outer next image"),  # the caller sees what was interrupted
    ],
)
def test_a_step_is_finished_and_sigterm_then_ends_the_process(number, code, did):
    assert ended(steps(number)) == (code, did)


def test_the_second_ctrl_c_raises():
    assert ended(steps(signal.SIGINT, lambda: os.kill(os.getpid(), signal.SIGINT))) == (130, b"")


def test_who_handles_sigterm_is_not_killed():
    def block(did):
        signal.signal(signal.SIGTERM, lambda number, frame: did(b"own"))
        steps(signal.SIGTERM)(did)

    assert ended(block) == (0, b"step inner outer next image")


def test_an_inversion_ends_with_its_process_and_leaves_a_checkpoint(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh()).eval()
    encoder = Encoder(module, "1", Preprocessing((8, 8)))
    code = encoder(torch.full((1, 3, 8, 8), 0.3))

    def inverted(number):
        def block(did):
            stop = Run(callback=lambda step: os.kill(os.getpid(), number), checkpoint=tmp_path / "state")
            did(b"stopped" if prepare(encoder, code, recipe("quick", encoder)).run(stop).interrupted else b"")

        return ended(block)

    assert inverted(signal.SIGTERM) == (-signal.SIGTERM, b"")
    assert (tmp_path / "state").exists()
    assert inverted(signal.SIGINT) == (0, b"stopped")


def test_all_blocks_around_are_told():
    def block(did):
        with deferred_interrupt() as outer, deferred_interrupt(), deferred_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
        did(f"{outer.pending} {outer.terminated}".encode())

    assert ended(block) == (0, b"True True")


def test_a_later_ctrl_c_does_not_undo_a_sigterm():
    def block(did):
        with deferred_interrupt(patient=True) as outer:
            os.kill(os.getpid(), signal.SIGTERM)
            with deferred_interrupt():
                os.kill(os.getpid(), signal.SIGINT)
        did(f"{outer.terminated}".encode())

    assert ended(block) == (0, b"True")
