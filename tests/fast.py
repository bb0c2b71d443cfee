"""What `make test-fast` runs: of each room the tests that find most and cost least; on two cores less than a minute in all.

A name is a test file, or a class or function of one after "::". Everything else is for `make test`.
"""

from __future__ import annotations

FAST: dict[str, tuple[str, ...]] = {
    "ground": (
        "test_digests.py", "test_resampling.py", "test_shortage.py", "test_imports.py", "test_rooms.py",
        "test_hostile_text.py::TestWhatIsNoRegularFile", "test_cache.py::TestShelf", "test_cache.py::TestPlace", "test_exits.py::TestFiles",
        "test_folders.py::test_a_marker_of_somebody_else_is_no_marker",
        "test_folders.py::test_a_result_that_grows_adds_its_files_and_no_others",
        "test_folders.py::test_what_comes_while_a_run_works_is_not_replaced",
    ),
    "concepts": ("test_concepts.py",),
    "models": ("test_conditioning.py", "test_path.py", "test_loading.py", "test_model_files.py"),
    "edits": ("test_lora.py", "test_restoring.py", "test_damaged_edits.py"),
    "erasure": ("test_closed_form.py", "test_targets.py", "test_trainable.py", "test_training.py", "test_checkpoint_files.py"),
    "methods": ("test_cure.py", "test_presets.py", "test_rece.py", "test_methods_contract.py::test_bad_settings_are_refused_by_name"),
    "pruning": ("test_bilevel.py",),
    "restoration": ("test_degradation.py", "test_colour.py", "test_tiles.py", "test_restorer.py::test_a_fresh_one_changes_nothing"),
    "information": ("test_estimators.py", "test_quadrature.py"),
    "evaluation": ("test_quality.py", "test_suites.py"),
    "attacks": ("test_attacks.py::TestOutcome", "test_attacks.py::TestChoice", "test_steering_policy.py::TestSteering"),
    "results": ("test_convert_audits.py",),
    "report": ("test_report.py::TestMethods", "test_benchmark_goals.py"),
    "requests": ("test_clashes.py", "test_requests.py", "test_queue.py::TestFile"),
    "jobs": ("test_bench.py::TestGrid", "test_whole_house.py"),
    "studio": ("test_studio.py::TestRequest", "test_studio.py::TestModels"),
    "cli": ("test_cli.py::TestBadInput", "test_terminal.py::TestOneLine"),
    "canvas": ("test_canvas_data.py", "test_train_loop.py"),
}  # fmt: skip
"""Room -> its tests."""

FILES = frozenset(name.partition("::")[0] for names in FAST.values() for name in names)


def is_fast(node: str) -> bool:
    """Whether a test is one of them, by its id: "tests/test_cli.py::TestBadInput::test_of_erase[0]"."""
    file, _, inside = node.partition("::")
    test = f"{file.rpartition('/')[2]}::{inside}"
    names = (name for room in FAST.values() for name in room)
    return any(test == name or test.startswith((f"{name}::", f"{name}[")) for name in names)
