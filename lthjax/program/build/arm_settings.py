"""What an arm of retraining sets for itself alone, by its name: a config of its own."""

from ml_collections import ConfigDict

from lthjax.program.build import unread
from lthjax.program.config import shrink, typed, validate
from lthjax.registry import suggestion
from lthjax.retraining import arms

SECTION = "retraining."
# What is of the run, not of an arm.
SHARED = tuple(f"{SECTION}{key}" for key in ("arms", "levels", "distillation.teacher"))


def of_arm(config, arm: str) -> ConfigDict:
    """Returns a config as one arm reads it.

    "skips.end=0.25" of its name becomes `retraining.skips.end`; the config given is
    returned where the name sets nothing.

    Args:
      config: Of the run.
      arm: Its name, as for `lthjax.retraining.arms.tweaks`.

    Raises:
      ValueError: There is no such key, or it is of all arms.
    """
    own = arms.settings(arm)
    if not own:
        return config
    found = validate.flat(config)
    known = [key.removeprefix(SECTION) for key in found if _is_own(key)]
    for key in own:
        if key not in known:
            inside = ", ".join(name for name in known if name.startswith(f"{key}."))
            more = f", a section; it has {inside}" if inside else suggestion(key, known)
            raise ValueError(
                f"what an arm sets for itself must be a key of retraining, got {key} "
                f"in {arm!r}{more}"
            )
    typing = {f"{SECTION}{key}": text for key, text in own.items()}
    values = {key: typed.literal(text) for key, text in typing.items()}
    return shrink.changed(
        config, {key: typed.like(found[key], value) for key, value in values.items()}
    )


def _is_own(key):
    return key.startswith(SECTION) and key not in SHARED


def check(config, checks) -> None:
    """Checks what arms set for themselves, as if the config had said it.

    Args:
      config: A validated config.
      checks: Functions of a config that refuse what is wrong in it.

    Raises:
      ValueError: A value is wrong, or its arm reads no such key; or two arms are the
        same by what they set.
    """
    seen: dict[tuple, str] = {}
    for arm in arms.trained(config.retraining.arms):
        own = of_arm(config, arm)
        if own is not config:
            _check_values(own, arm, checks)
        values = repr({k: v for k, v in validate.flat(own).items() if _is_own(k)})
        same = arms.tweaks(arm), arms.control(arm), values
        if same in seen:
            raise ValueError(
                "the arms must all be different, got retraining.arms = "
                f"{tuple(config.retraining.arms)}, where {arm!r} is the same as "
                f"{seen[same]!r} by what is set"
            )
        seen[same] = arm


def _check_values(own, arm, checks):
    """Checks the config of an arm that sets something."""
    alone = shrink.changed(own, {f"{SECTION}arms": (arm,)})
    try:
        for one in checks:
            one(alone)
    except ValueError as error:
        raise ValueError(f"of the arm {arm!r}: {error}") from error
    own = [f"{SECTION}{key}" for key in arms.settings(arm)]
    for key, why in unread.in_vain(alone, own).items():
        raise ValueError(
            f"an arm must set what it reads, got {key.removeprefix(SECTION)} in "
            f"{arm!r}: {why}"
        )
