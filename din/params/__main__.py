"""Write params.yaml and docs/params.schema.json from the defaults; `make params` runs it."""

import json
from pathlib import Path

from din.params.defaults import defaults
from din.params.json_schema import schema

Path("params.yaml").write_text(defaults(), encoding="utf-8")
Path("docs/params.schema.json").write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
