"""Write params.yaml and docs/params.schema.json; `make params` runs it.

params.yaml holds the defaults, changed by the recipe for its log's protocol.
"""

import json
import sys
from pathlib import Path

from din.params.overlays import edit, nested
from din_start.params.defaults import defaults
from din_start.params.json_schema import schema
from din_start.params.recipes import ALWAYS, RECIPES

if not Path("docs/params.schema.json").exists():
    sys.exit("python -m din_start.params writes the defaults over params.yaml; run it in a checkout of this project")
changes = nested({f"train.{key}": value for key, value in (ALWAYS | RECIPES["by_user"]).items()})
Path("params.yaml").write_text(edit(defaults(), changes, "the recipe").text, encoding="utf-8")
Path("docs/params.schema.json").write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
