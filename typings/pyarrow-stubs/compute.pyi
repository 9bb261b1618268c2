# For pyright: pyarrow.compute makes its functions at import, where a type checker can't see them.
# py.typed says `partial`, so everything else of pyarrow keeps its own types.
from typing import Any

def __getattr__(name: str) -> Any: ...
