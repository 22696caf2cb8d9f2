"""What the tweaks of a loss need of what is minimised."""

from typing import Any

from lthjax.training.objective import Objective


def check(goal: Objective, *, smoothed: bool = False, distilled: bool = False) -> None:
    """Refuses tweaks of a loss that a goal does not have.

    Args:
      goal: What is minimised.
      smoothed: Whether labels are smoothed.
      distilled: Whether there is a teacher.

    Raises:
      ValueError: A tweak is asked for, and the goal has no function for it.
    """
    asked = (
        ("smoothing", "smoothed", smoothed),
        ("distillation", "distilled", distilled),
    )
    for tweak, name, wanted in asked:
        if wanted and getattr(goal, name) is None:
            raise ValueError(
                f"the tweak {tweak!r} needs an objective with a function {name}, got "
                f"goal.{name} = None; give it one, goal._replace({name}=...), or leave "
                "the tweak out"
            )


def check_teacher(distillation: tuple | None, teacher: Any) -> None:
    """Refuses distillation without a teacher.

    Args:
      distillation: As in a recipe.
      teacher: (params, model_state) as handed to a step, or `None`.

    Raises:
      ValueError: There is the one without the other.
    """
    if distillation and teacher is None:
        raise ValueError(
            "a recipe with distillation needs a teacher, got handed.teacher = None; "
            "give the (params, model_state) of the trained dense network"
        )
