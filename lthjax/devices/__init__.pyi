from . import backend as backend
from . import cpu_convolutions as cpu_convolutions
from . import measure as measure
from . import memory as memory
from . import meshes as meshes
from . import processes as processes
from .cpu_convolutions import compiler_options as compiler_options
from .cpu_convolutions import lower_convolutions as lower_convolutions
