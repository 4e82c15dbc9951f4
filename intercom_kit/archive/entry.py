"""What `papermill --engine intercom-kit` finds.

papermill loads the engines of all packages whenever it is imported, for everybody: so this module imports nothing.
"""

from typing import Any


class EngineEntry:
    """Answers as papermill's own engines do, for KitEngine."""

    @classmethod
    def execute_notebook(cls, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - papermill is not annotated
        """Run a notebook on a kernel of the kit."""
        from intercom_kit.archive.kernels import KitEngine

        return KitEngine.execute_notebook(*arguments, **options)

    @classmethod
    def nb_kernel_name(cls, notebook: Any, name: str | None = None) -> str:  # noqa: ANN401 - the same
        """Return the name of the notebook's kernel."""
        from papermill.utils import nb_kernel_name

        return str(nb_kernel_name(notebook, name))

    @classmethod
    def nb_language(cls, notebook: Any, language: str | None = None) -> str:  # noqa: ANN401 - the same
        """Return the notebook's language."""
        from papermill.utils import nb_language

        return str(nb_language(notebook, language))
