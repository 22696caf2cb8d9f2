"""Searches for tickets, and the types they share."""

from lthjax import moved
from lthjax.tickets import block_maps as block_maps
from lthjax.tickets import controls as controls
from lthjax.tickets import dynamic as dynamic
from lthjax.tickets import elastic as elastic
from lthjax.tickets import forward_selection as forward_selection
from lthjax.tickets import outside as outside
from lthjax.tickets import rounds as rounds
from lthjax.tickets import stability as stability
from lthjax.tickets import ticket as ticket
from lthjax.tickets import transplant as transplant
from lthjax.tickets.early_bird import early_bird as early_bird
from lthjax.tickets.iterative import iterative as iterative
from lthjax.tickets.iterative import one_shot as one_shot
from lthjax.tickets.rounds import continuous as continuous
from lthjax.tickets.ticket import Search as Search
from lthjax.tickets.ticket import Ticket as Ticket
from lthjax.tickets.ticket import Trained as Trained


def __getattr__(name: str):
    """Answers for what moved away, with a warning."""
    return moved.answer(__name__, name)
