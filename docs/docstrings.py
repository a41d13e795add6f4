"""What our docstrings mean by a line, for Griffe, which reads them for the reference."""

import re
from typing import Any

from griffe import Extension, GriffeLoader, Object

SEVERAL = re.compile(
    r"^(?P<indent> +)(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)+): (?P<text>.*(?:\n(?P=indent) +\S.*)*)",
    re.MULTILINE,
)
NAME = re.compile(r"(?<![`\[])`(?:(?P<package>\w+)\.)?(?P<name>\w+)`(?!`)")


class Docstrings(Extension):
    """Split lines about several arguments, and link the names of public objects."""

    def on_object(self, *, obj: Object, loader: GriffeLoader, **_: Any) -> None:
        """Change an object's docstring before it is parsed."""
        if obj.docstring is None:
            return
        text = SEVERAL.sub(_one_a_line, obj.docstring.value)
        cnn_jax = loader.modules_collection["cnn_jax"]
        parameters = (parameter.name for parameter in getattr(obj, "parameters", ()))
        own = {obj.name, *obj.members, *parameters}

        def linked(code: re.Match[str]) -> str:
            package = code["package"] or obj.path.split(".")[1]
            home = cnn_jax.members.get(package)
            if code["name"] in own or home is None or code["name"] not in (home.exports or ()):
                return code[0]
            # A module hides the function of its name, which then goes by the module's.
            hidden = code["name"] in home.modules
            path = home.imports[code["name"]] if hidden else f"{home.path}.{code['name']}"
            return f"[{code[0]}][{path}]"

        obj.docstring.value = NAME.sub(linked, text)


def _one_a_line(line: re.Match[str]) -> str:
    """`a, b: as in c` as two lines; Google's style has one for each argument."""
    return "\n".join(
        f"{line['indent']}{name}: {line['text']}" for name in line["names"].split(", ")
    )
