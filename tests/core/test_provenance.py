"""What a recorded config tells of the machine it comes from."""

from pipeline.core.provenance import strip_local_paths


def test_local_paths_lose_their_folders_and_names_of_the_table_nothing() -> None:
    config = {
        "classes": ["/x", "~x", "a"],
        "positive_class": "/x",
        "columns": {"label": "/dx"},
        "split": {"file": "/home/me/split.csv", "test_sites": ["/north"]},
        "files": ["~/a.pt", "b.pt", "~me/c.pt"],
    }
    assert strip_local_paths(config) == config | {
        "split": {"file": "split.csv", "test_sites": ["/north"]},
        "files": ["a.pt", "b.pt", "c.pt"],
    }
