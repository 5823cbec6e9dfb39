"""multiprobe: batch attachment of BPF programs to thousands of Linux kernel functions.

`__init__.pyi` lists the public names and the modules that define them. Each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0.dev0"
__all__ += ["__version__"]
