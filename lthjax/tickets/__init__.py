"""Searches for tickets, and the types they share."""

from lthjax.tickets import travel as travel
from lthjax.tickets.base import Search as Search
from lthjax.tickets.base import Ticket as Ticket
from lthjax.tickets.base import Trained as Trained
from lthjax.tickets.continuous import continuous as continuous
from lthjax.tickets.early_bird import early_bird as early_bird
from lthjax.tickets.iterative import iterative as iterative
from lthjax.tickets.iterative import one_shot as one_shot
from lthjax.tickets.storage import load as load
from lthjax.tickets.storage import save as save
