"""Files of whole runs: minutes in all, beside the pieces that the other files hold.

`pytest -m thorough` runs them, as `.ci/run` does; the command of the README does not.
"""

FILES = (
    "devices/processes_test.py",
    "export_test.py",
    "federated/rounds_test.py",
    "program/build/by_admm_test.py",
    "program/build/by_channels_test.py",
    "program/build/by_gates_test.py",
    "program/build/by_elastic_test.py",
    "program/build/coefficients_test.py",
    "program/build/criterion_test.py",
    "program/build/methods_test.py",
    "program/build/optimizer_test.py",
    "program/build/recipes_test.py",
    "program/build/retraining_test.py",
    "program/federated/experiment_test.py",
    "program/report/page_costs_test.py",
    "program/report/studies/study_files_test.py",
    "program/report/studies/study_test.py",
    "program/run/damage_test.py",
    "program/run/dry_run_test.py",
    "program/run/errors_test.py",
    "program/run/given_weights_test.py",
    "program/run/objectives_test.py",
    "program/run/own_training_test.py",
    "program/run/pools_test.py",
    "program/run/recognition_test.py",
    "program/run/resume_test.py",
    "program/run/search_progress_test.py",
    "program/run/starts_test.py",
    "program/run/streamed_test.py",
    "program/run/transformers_test.py",
    "program/sweep/jobs_test.py",
)
