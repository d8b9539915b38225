"""All of the shared SSRF corpus was played, and nobody reached the canary. Runs after the stages: pytest goes by file name."""

import json
from pathlib import Path

import pytest

STAGES = {"url": 256, "response": 50, "resolve": 47, "request": 26, "redirect": 21, "config": 14, "connect": 4}


def test_the_corpus_is_the_whole_one(corpus, repository: Path) -> None:
    assert corpus.by_stage() == STAGES and len({case["id"] for case in corpus.cases}) == 418
    shared = repository.parent / "shared/security/ssrf_corpus.json"  # where it comes from, if that is here
    assert not shared.exists() or json.loads(shared.read_text()) == corpus.cases


def test_every_case_was_played(corpus, request: pytest.FixtureRequest) -> None:
    files = {Path(item.path).name for item in request.session.items}
    if not {"test_corpus.py", "test_corpus_config.py", "test_corpus_responses.py"} <= files or request.config.option.keyword:
        pytest.skip("counts a run of all corpus files; this was a run of some")
    played = corpus.by_stage(corpus.played)
    print("\ncorpus cases played:", sum(played.values()), dict(sorted(played.items())))
    assert {case["id"] for case in corpus.cases} - corpus.played == set()
    assert played == STAGES
    assert corpus.canary.look() == 0
