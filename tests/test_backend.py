"""The door to TensorFlow: silence, one thread, and stderr as it was."""

import os
import subprocess
import sys

import pytest

from stockrnn.models import backend

pytestmark = pytest.mark.network


def run(code, **options):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, **options)


def test_importing_and_compiling_say_nothing_and_python_can_still_write_to_stderr():
    code = "import sys\nfrom stockrnn.models.backend import tf\n"
    code += "print(tf.function(lambda x: x @ x, jit_compile=True)(tf.ones((2, 2))).numpy().sum())\nprint('mine', file=sys.stderr)"
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "8.0\n", "mine\n")


@pytest.mark.slow
def test_a_process_without_stderr_can_import_it():
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&-; {sys.executable} -c 'from stockrnn.models.backend import tf; print(1)'"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "1\n")


def test_what_was_written_is_shown_when_the_block_fails(capfd):
    from stockrnn.models.backend import quiet_descriptor

    with pytest.raises(ZeroDivisionError), quiet_descriptor():
        _write_and_fail()
    assert capfd.readouterr().err == "cause"
    with quiet_descriptor():
        os.write(2, b"noise")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def _write_and_fail():
    os.write(2, b"cause")
    raise ZeroDivisionError


def test_one_thread_an_operation():
    from stockrnn.models.backend import tf

    assert tf.config.threading.get_intra_op_parallelism_threads() == 1
    assert tf.config.threading.get_inter_op_parallelism_threads() == 1


@pytest.mark.parametrize("before", [True, False])
def test_garbage_is_collected_after_the_import_as_before_it(before):
    code = f"import gc\nif not {before}: gc.disable()\nfrom stockrnn.models import backend\n"
    assert run(f"{code}print(gc.isenabled(), gc.get_freeze_count() > 100_000)").stdout == f"{before} True\n"


def test_large_blocks_are_not_mapped_anew_each_time():
    code = """
import ctypes, resource
from stockrnn.models.backend import keep_memory
heap, faults = ctypes.CDLL(None), []
heap.malloc.restype, heap.malloc.argtypes, heap.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(3):
    block = heap.malloc(64 << 20)
    ctypes.memset(block, 1, 64 << 20)
    heap.free(block)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(keep_memory(), faults[2] - faults[1])
"""
    kept, faults = run(code).stdout.split()
    assert kept == "False" or int(faults) < 1000  # of 16,384 pages of 4 KiB


def test_options_of_xla_that_a_user_gives_are_kept_and_stand_for_ours():
    assert set(backend.xla_flags("").split()) <= set(os.environ["XLA_FLAGS"].split())
    flags = backend.xla_flags("--xla_dump_to=here --xla_cpu_prefer_vector_width=256").split()
    assert flags[:2] == ["--xla_dump_to=here", "--xla_cpu_prefer_vector_width=256"]
    assert [each.partition("=")[0] for each in flags[2:]] == ["--xla_backend_extra_options"]
