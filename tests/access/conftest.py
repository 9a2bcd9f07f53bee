def pytest_collection_modifyitems(items):
    """Tests that wait begin first, so that the others run meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
