"""The page that compares experiments."""

from tests.reporting.pages_made import index, predictions, read, words, write_run


def test_the_index_links_and_compares_experiments(config):
    write_run(config, "tiny", predictions(signal=3.0))
    write_run(config, "other", predictions(signal=0.0, seed=1))
    page = read(index(config))
    assert {"tiny.html", "other.html"} <= set(page.links)
    assert "tiny ranks patients better than other" in " ".join(page.text)


def test_an_index_of_other_patients_says_why_it_does_not_compare(config):
    write_run(config, "tiny", predictions())
    write_run(config, "other", predictions(patients=57))
    assert "val patients differ from those of tiny" in words(index(config))
