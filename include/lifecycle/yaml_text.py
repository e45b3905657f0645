"""YAML that people write by hand: what a parser would pass over in silence is an error here."""

from pathlib import Path
from typing import Any

import yaml

from include.lifecycle.errors import BadInputError
from include.lifecycle.untrusted_text import one_line


def read_text(file: Path, what: str) -> str:
    """Return a file's text.

    :param what: what the error calls it, e.g. "the configuration"
    :raises BadInputError: when it cannot be read, or is not UTF-8
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{what} {file} is no UTF-8 text: byte {error.start} is 0x{error.object[error.start]:02x}; save it as UTF-8"
        ) from error
    except OSError as error:
        raise BadInputError(f"cannot read {what} {file}: {error.strerror}") from error


def parse_yaml(text: str, source: str) -> Any:
    """Return what a YAML text says.

    :param source: what the error calls it
    :raises BadInputError: when it is not YAML, names a key of a mapping twice, or is nested too deeply
    """
    try:
        return yaml.load(text, _OnceLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise BadInputError(f"{source} is not valid YAML: {one_line(_problem(error))}") from error
    except RecursionError as error:
        raise BadInputError(f"{source} is nested too deeply") from error


def _problem(error: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the line itself: a password may stand there."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)
    mark = error.problem_mark or error.context_mark
    said = ", ".join(filter(None, (error.context, error.problem)))
    return f"{said}, in line {mark.line + 1}, column {mark.column + 1}" if mark else said


class _OnceLoader(yaml.SafeLoader):
    """A safe loader for which a key that stands twice in a mapping is an error: PyYAML takes the last one.

    A value that its tag does not fit is one as well, where PyYAML lets through what Python says of it.
    """

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"line {node.start_mark.line + 1}: {one_line(str(node.value), 40)!r} is no {kind}"
            ) from error

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # here, before merge keys (<<) bring in keys that may be there already
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[object, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, f"line {line}: a key must be a word or number")
            merge = key_node.tag == "tag:yaml.org,2002:merge"
            key = key_node.value if merge else self.construct_object(key_node)
            if key in lines:
                raise yaml.composer.ComposerError(
                    None,
                    None,
                    f"{key_node.value!r} stands twice in a mapping, in lines {lines[key]} and {line}: keep one",
                )
            lines[key] = line
        return node
