"""Slicing: the text that a class or a function needs, out of one or several modules, in one file."""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterable

from diffea.errors import ExportError
from diffea.export.editing import Editor, names_of
from diffea.export.modules import Module
from diffea.export.names import TWINS, Imported, Meaning, NumpyName, Own, Refused, Twin

ALWAYS = ("channels", "variations", "columns", "fill")
NEVER = ("edges", "__init__", "process", "postprocess", "at")
OWN = "# The analysis, where diffea's soft cuts are exact ones and jax.numpy is NumPy.\n"


@dataclasses.dataclass
class Slice:
    """What is copied so far.

    Attributes:
        modules: by name, in the order in which they were met.
        texts: of statements, by module and number.
        imports: lines.
        names: at the top level of the file, each with what it stands for.
        order: of the modules, those that others need first.
    """

    modules: dict[str, Module] = dataclasses.field(default_factory=dict)
    texts: dict[tuple[str, int], str] = dataclasses.field(default_factory=dict)
    imports: set[str] = dataclasses.field(default_factory=set)
    names: dict[str, object] = dataclasses.field(default_factory=dict)
    order: list[str] = dataclasses.field(default_factory=list)
    members: dict[tuple[str, str], set[str]] = dataclasses.field(default_factory=dict)

    def copy(self) -> Slice:
        """The same, to go on with and perhaps to forget."""
        fields = dataclasses.fields(self)
        return Slice(*(type(value)(value) for value in (getattr(self, field.name) for field in fields)))

    def need_processor(self, cls: type) -> None:
        """A processor's class, and of it and its bases the members that selecting and filling need.

        Raises:
            ExportError: if something that is needed has no counterpart in NumPy, or no text.
        """
        bodies = {}
        for base in cls.__mro__:
            if _is_base(base):
                break
            module = self._module(base.__module__)
            found = [s for s in module.statements if isinstance(s, ast.ClassDef) and s.name == base.__qualname__]
            if not found:
                msg = f"{base.__qualname__} is not at the top level of {module.path}, so that its text cannot be copied: move it there"
                raise ExportError(msg)
            bodies[base.__module__, base.__qualname__] = found[-1]
        needed = set(ALWAYS)
        while True:
            asked = {
                node.attr
                for body in bodies.values()
                for member in body.body
                if names_of(member) & needed
                for node in ast.walk(member)
                if isinstance(node, ast.Attribute)
            }
            of_class = {name for body in bodies.values() for member in body.body for name in names_of(member)}
            if (more := needed | (asked & of_class)) == needed:
                break
            needed = more
        self.members |= dict.fromkeys(bodies, needed - set(NEVER))
        for where, name in bodies:
            self.need(where, name)

    def need(self, module_name: str, name: str) -> None:
        """Everything that binds a name in a module, and what that needs.

        Raises:
            ExportError: likewise.
        """
        module = self._module(module_name)
        self.claim(name, (module_name, name), module.place(module.statements[0]))
        for number in module.binders.get(name, ()):
            if (module_name, number) not in self.texts:
                self.texts[module_name, number] = ""  # so that what needs itself ends
                self.texts[module_name, number] = self._text(module, number)
        if module_name not in self.order:
            self.order.append(module_name)

    def _module(self, name: str) -> Module:
        if name not in self.modules:
            self.modules[name] = Module(name)
        return self.modules[name]

    def claim(self, name: str, what: object, where: str) -> None:
        """Take a name at the top level of the file.

        Args:
            name: to be taken.
            what: is to have it.
            where: it is needed, for the message.

        Raises:
            ExportError: if something else has it.
        """
        if self.names.setdefault(name, what) != what:
            msg = f"{where}: {name!r} is one thing here and another in a module that the processor needs too: give one of them another name"
            raise ExportError(msg)

    def _text(self, module: Module, number: int) -> str:
        statement = module.statements[number]
        kept = self.members.get((module.name, getattr(statement, "name", "")))
        editor = Editor(self.add, kept, module, statement)
        first = min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", ()))])
        while first > 1 and module.lines[first - 2].startswith(b"#") and not _above(module, number, first - 1):
            first -= 1
        last = statement.end_lineno or statement.lineno
        after = module.statements[number + 1] if number + 1 < len(module.statements) else None
        if isinstance(statement, ast.Assign | ast.AnnAssign) and _is_text(after):
            last = after.end_lineno or last  # type: ignore[union-attr]
        return editor.text(first, last)

    def add(self, meant: Meaning, module: Module, node: ast.AST) -> str | None:
        """See that something is in the file; the name that it has there, if another than here.

        Raises:
            ExportError: if it has no place there.
        """
        match meant:
            case Refused(name):
                msg = (
                    f"{module.place(node)} uses {name}, which has no counterpart in plain NumPy: write it with diffea.soft, arithmetic and "
                    "functions of jax.numpy that NumPy has too"
                )
                raise ExportError(msg)
            case NumpyName(name):
                self.imports.add("import numpy as np")
                self.claim("np", "import numpy as np", module.place(node))
                return f"np.{name}"
            case Imported(line, name):
                self.imports.add(line)
                self.claim(name, line, module.place(node))
                return None
            case Twin(where, name) | Own(where, name):
                self.need(where, name)
                return name
        return None

    def source(self) -> tuple[str, str]:
        """The lines that import, and the rest: first what stands for diffea, then the user's own."""
        rank = {name: (not name.startswith(TWINS), place) for place, name in enumerate(self.order)}
        chosen = sorted((key for key, text in self.texts.items() if text), key=lambda key: (rank[key[0]], key[1]))
        body, before = "", ""
        for key in chosen:
            text, own = self.texts[key], not key[0].startswith(TWINS)
            if own and OWN not in body:
                body, before = f"{body}\n\n\n{OWN}", ""
            apart = "\n" if before and not _long(before) and not _long(text) else "\n\n\n"
            body, before = body + apart + text, text
        return import_lines(self.imports), body.strip("\n")


def import_lines(imports: Iterable[str]) -> str:
    """Imports as they are usually written: those of the standard library, then those of packages."""
    names: dict[str, list[str]] = {}
    lines = set()
    for line in imports:
        if line.startswith("from "):
            _, module, _, name = line.split(" ", 3)
            names.setdefault(module, []).append(name)
        else:
            lines.add(line)
    lines |= {f"from {module} import {', '.join(sorted(found))}" for module, found in names.items()}
    groups: tuple[list[str], list[str]] = ([], [])
    for line in sorted(lines, key=lambda line: (line.startswith("from "), line)):
        groups[line.split()[1].partition(".")[0] not in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(group) for group in groups if group)


def _long(text: str) -> bool:
    """Whether a statement stands by itself."""
    return "\n" in text or text.startswith(("def ", "class "))


def _is_base(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "diffea" and not cls.__module__.startswith("diffea.demo")


def _above(module: Module, number: int, line: int) -> bool:
    """Whether a line belongs to the statement before."""
    return number > 0 and (module.statements[number - 1].end_lineno or 0) >= line


def _is_text(statement: ast.stmt | None) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
