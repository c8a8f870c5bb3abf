"""The index page, which compares experiments."""

from tests.reporting.example_pages import index, parse, predictions, text_of, write_run


def test_the_index_links_and_compares_experiments(config):
    write_run(config, "tiny", predictions(signal=3.0))
    write_run(config, "other", predictions(signal=0.0, seed=1))
    page = parse(index(config))
    assert {"tiny.html", "other.html"} <= set(page.links)
    assert "tiny ranks patients better than other" in " ".join(page.text)


def test_experiments_on_other_patients_are_not_compared_and_the_reason_is_given(config):
    write_run(config, "tiny", predictions())
    write_run(config, "other", predictions(patients=57))
    assert "val patients differ from those of tiny" in text_of(index(config))
