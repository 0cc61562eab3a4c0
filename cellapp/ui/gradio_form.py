"""Widgets and endpoints made from declared fields: what is declared once is drawn, checked and documented."""

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence

import gradio as gr
from gradio.components import Component
from pydantic import BaseModel

from cellapp import DEFAULT_WEIGHTS
from cellapp import weights as store
from cellapp.axes import MEANINGS
from cellapp.declared import Field, field
from cellapp.errors import CellappError
from cellapp.methods import Options

# Of `Options`, in the order of the page; the tile changes no count.
READING = ("cell_diameter", "polarity", "channel", "pages", "z", "frame", "saliency", "quick", "stride")
_LISTS = {"pages": MEANINGS, "stride": tuple(map(str, Options.strides()))}   # whose declaration checks more than a type


def widget(model: type[BaseModel], name: str, *, empty: bool = False):
    """The widget of a declared field; an ``empty`` one stands for a default that depends on other settings."""
    about = field(model, name)
    usual = None if empty else about.default
    shown = {"label": about.label, "info": about.help}
    if about.kind == "yes":
        return gr.Checkbox(bool(usual), **shown)
    if choices := about.choices or _LISTS.get(name):
        return gr.Dropdown(list(choices), value=None if empty else str(usual), filterable=False, **shown)
    if about.kind == "text":
        return gr.Textbox(usual, max_lines=1, **shown)
    limits = {"minimum": about.low, "maximum": about.high, "precision": 0 if about.kind == "whole" else None}
    if usual is not None:
        return gr.Number(usual, **limits, **shown)
    box = gr.Textbox(placeholder="by itself", max_lines=1, **shown)      # an empty gr.Number would be 0
    box.for_api = gr.Number(None, label=about.label, visible=False, **limits)
    return box


def weights(label: str, rows: dict[str, store.Weights], further: Sequence[tuple[str, str]] = (), **about):
    """The list of weights. The API takes ids: that of a training that has just ended, too, and a wrong one gets our
    sentence."""
    usual = DEFAULT_WEIGHTS if DEFAULT_WEIGHTS in rows else next(iter(rows), None)
    shown = gr.Dropdown([*titles(rows), *further], label=label, **({"value": usual, "filterable": False} | about))
    shown.for_api = gr.Dropdown(shown.choices, value=shown.value, multiselect=shown.multiselect, label=label,
                                allow_custom_value=True, visible=False)
    return shown


def for_api(shown: Component) -> Component:
    """What stands for a widget in the API, where it is not the widget itself."""
    return getattr(shown, "for_api", shown)


def answer(label: str, schema: dict) -> gr.JSON:
    """Plain data that the API gives back, with the types that its description names."""
    made = gr.JSON(visible=False, label=label)
    made.api_info = lambda: schema
    return made


def answered_file() -> gr.File:
    """A file that the API gives back."""
    return gr.File(visible=False, label="archive")


def rows_of(text: Sequence[str], numbers: Sequence[str]) -> dict:
    """The schema of rows with these columns, of which any may be null."""
    types = dict.fromkeys(text, "string") | dict.fromkeys(numbers, "number")
    columns = {name: {"anyOf": [{"type": kind}, {"type": "null"}]} for name, kind in types.items()}
    return {"type": "array", "items": {"type": "object", "properties": columns}}


def titles(rows: dict[str, store.Weights]) -> list[tuple[str, str]]:
    """Weights as choices: what is shown, what is meant."""
    return [(row.title, name) for name, row in rows.items()]


def endpoint(function: Callable[..., Iterator], model: type[BaseModel] | None = None,
             names: Sequence[str] = ()) -> Callable[..., Iterator]:
    """A generator as Gradio takes it: its argument ``settings`` becomes the fields ``names`` of ``model``.

    ``function`` gets a dict of those that were given. Their help joins its docstring, from which Gradio documents the
    API; a `CellappError` becomes the sentence a visitor reads.
    """
    fields = [field(model, name) for name in names]
    places = []
    for place in inspect.signature(function).parameters.values():
        places += [_parameter(one) for one in fields] if place.name == "settings" else [place]
    signature = inspect.Signature([place.replace(kind=place.POSITIONAL_OR_KEYWORD) for place in places])

    @functools.wraps(function)
    def answer(*values):
        given = dict(zip(signature.parameters, values, strict=False))
        if fields:
            given["settings"] = {name: value for name in names if (value := given.pop(name)) not in (None, "")}
        try:
            yield from function(**given)
        except CellappError as error:
            raise gr.Error(str(error), title="Not possible", print_exception=False) from error

    del answer.__wrapped__
    answer.__signature__ = signature
    answer.__doc__ = _documented(inspect.getdoc(function), fields)
    return answer


def _parameter(one: Field) -> inspect.Parameter:
    return inspect.Parameter(one.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)


def _documented(text: str, fields: list[Field]) -> str:
    about, returns, rest = text.partition("Returns:")
    return f"{about.rstrip()}\n" + "".join(f"    {one.name}: {one.help}\n" for one in fields) + returns + rest
