"""Threads, precision, determinism and devices of TensorFlow in this process."""

from __future__ import annotations

import os

from harness.devices import gpu_index
from harness.errors import Unsupported


def set_up(device: str, threads: int) -> None:
    """Prepare this process; before anything of it computes. Raises `Unsupported`.

    TensorFlow sizes its thread pools once, when it starts: a process serves one thread count. With
    0 it is the environment's, if there is one and TensorFlow has not started.
    What is called float32 is computed in float32, as in PyTorch: TF32, which TensorFlow takes
    unasked, would not pass the parity gate.
    On a GPU it takes the memory that it needs; unasked it takes nearly all, of every GPU that it
    sees, and leaves none to the process that is timed.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise Unsupported(
            f"TensorFlow cannot be imported ({error}); pip install 'pretrained-harness[tensorflow]'"
        ) from None
    if count := threads or _environment_threads():
        try:
            tf.config.threading.set_intra_op_parallelism_threads(count)
            # parts of a batch are computed side by side
            tf.config.threading.set_inter_op_parallelism_threads(count)
        except RuntimeError:  # it runs already
            if threads and tf.config.threading.get_intra_op_parallelism_threads() != threads:
                raise
    _show(device)
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)


def _show(device: str) -> None:
    """Let TensorFlow see the device alone. Raises `Unsupported`, or TensorFlow's `RuntimeError`
    where it runs already and sees another: on the CPU it would compute all the same."""
    import tensorflow as tf

    visible = []
    if device != "cpu":
        visible = tf.config.list_physical_devices("GPU")[:1]
        if not visible:
            raise Unsupported("TensorFlow sees no GPU")
        if gpu_index(device):
            raise Unsupported(f"TensorFlow computes on the first GPU here, not on {device}")
        tf.config.experimental.set_memory_growth(visible[0], True)
    tf.config.set_visible_devices(visible, "GPU")


def _environment_threads() -> int:
    """What our workers are started with; 0 where nothing is said."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


def observed_threads() -> int:
    import tensorflow as tf

    return int(tf.config.threading.get_intra_op_parallelism_threads())


def observed_interop_threads() -> int:
    import tensorflow as tf

    return int(tf.config.threading.get_inter_op_parallelism_threads())


def computes_bfloat16() -> bool:
    """Whether the GPU has bfloat16 units: NVIDIA's have from compute capability 8.0."""
    import tensorflow as tf

    gpu = tf.config.list_physical_devices("GPU")[0]
    details = tf.config.experimental.get_device_details(gpu)
    return bool(details.get("compute_capability", (0, 0)) >= (8, 0))
