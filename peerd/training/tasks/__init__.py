"""The tasks that a run can name. A new task is a file here, a line below and one in learning/catalog.py."""

from peerd.training.tasks.digits import DIGITS_CNN
from peerd.training.tasks.mnist import MNIST_CNN
from peerd.training.tasks.task import Samples, Task

TASKS: dict[str, Task] = {"digits-cnn": DIGITS_CNN, "mnist-cnn": MNIST_CNN}

__all__ = ["TASKS", "Samples", "Task"]
