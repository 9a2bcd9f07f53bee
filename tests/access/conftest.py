import os


def pytest_collection_modifyitems(items):
    """Each process of pytest-xdist begins with an equal part of the list, so slow tests stand at the begin of each."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    part = len(items) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)) or 1
    items[:] = [item for item in items if item not in slow]
    for number, item in enumerate(slow):
        items.insert(number * part, item)
