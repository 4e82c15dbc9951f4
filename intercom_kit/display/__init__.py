"""Charts, tables and the terminal: each draws what it is given and computes nothing."""

import sys

from intercom_kit.display.displays import register

# jsonschema's optional rfc3987_syntax builds grammars for 1.4 s in every process that imports nbformat, to check IRIs
# that no notebook holds. None makes that import fail, and jsonschema does without it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None blocks an import, as documented
register()  # in a kernel, so that an import from here shows records as tables
