"""A text by characters, a small GPT: pruned by magnitude, with a control.

    python -m lthjax.main --config=configs/characters_gpt.py --workdir=runs/characters

The text is made by the grammar in `lthjax/data/characters.py`; one of your own is
`--config.data.options="{'path': 'FILE'}"`. Every kernel is prunable, tables of tokens
and positions are not (`search.include`).
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.objective = "next_token"
    config.controls = ("reinit",)
    config.data.name = "characters"
    config.data.options.length = 64
    config.data.validation = 128
    config.model.name = "gpt_tiny"
    config.model.options = {"features": 64, "depth": 2}
    config.train.steps = 600
    config.train.batch_size = 32
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.search.rate = 0.5
    config.search.levels = 4
    config.search.rewind_to = 60
    config.eval_every = 100
    config.eval_batch = 128
    return config
