"""The shipped tasks, one file each. A new one is a file here and a line in each of `registry.SHIPPED`,
`types.SHIPPED_TASKS`, `dataset.NEEDS` and `learning/catalog.py`."""
