"""The page: how it is laid out, and which button does what. What the buttons do is in `actions`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from excise.quoting import cut
from excise.studio import sights
from excise.studio.actions import HOW_MUCH, METHODS, WHAT_IT_IS, Order, Studio
from excise.studio.private_folder import EXAMPLE

TITLE = """<header><h1>excise studio</h1>
<p>Take something out of a model that makes pictures, and see that everything else stays.</p></header>"""

OPEN = """(page) => { if (page) { const address = URL.createObjectURL(new Blob([page], {type: "text/html"}));
  if (!window.open(address)) { location.assign(address); } } }"""
"""Shows a report in a tab of its own."""

CLOSE_MENUS = """() => document.addEventListener("keydown", event => {
  if (event.key === "Tab" && event.target.matches("[role=combobox]")) { event.stopPropagation(); } }, true)"""
"""Lets Tab leave a menu closed: Gradio opens it again on any key that it hears of."""

EVERY = 1.5
"""Seconds between two looks at the line (ours)."""


def build(studio: Studio) -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(title="excise studio", analytics_enabled=False, delete_cache=(3600, 86400)) as page:
        _Page(studio).lay_out(page)
    page.queue(default_concurrency_limit=4, max_size=200, api_open=False)
    return page


class _Page:
    """The parts of the page, and what moves between them."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def lay_out(self, page: gr.Blocks) -> None:
        self.token = gr.BrowserState("", storage_key="excise-studio", secret="excise-studio")
        self.seen, self.seed, self.paper = gr.State(""), gr.State(0), gr.Textbox(visible=False)
        self.shown = gr.State("")  # the model whose edits are on the page
        gr.HTML(TITLE, elem_id="title")
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=3, min_width=300, elem_id="choose"):
                self._choose()
            with gr.Column(scale=7, min_width=300, elem_id="compare"):
                self._compare()
        self._connect(page)

    def _choose(self) -> None:
        gr.HTML("<h2>1. Choose</h2>")
        self.model = gr.Dropdown(
            self.studio.models(), value="canvas", label="Model", allow_custom_value=True, elem_id="model",
            info="From the list, a folder, or owner/name on the hub",
        )  # fmt: skip
        self.concept = gr.Dropdown(
            _suggested(self.studio, "canvas"), value="dog", label="What to erase", allow_custom_value=True, elem_id="concept"
        )
        with gr.Accordion("More choices", open=False, elem_id="more"):
            self.kind = gr.Dropdown(WHAT_IT_IS, value="", label="What it is")
            self.also = gr.Textbox(label="Other words for it", placeholder="kitty, feline", info="With commas between")
            self.method = gr.Dropdown(METHODS, value="mim", label="Method", elem_id="method")
            self.evaluate = gr.Dropdown(HOW_MUCH, value="quick", label="How much to measure", elem_id="extent")
        gr.HTML("<h2>2. Erase</h2>")
        with gr.Row():
            self.erase = gr.Button("Erase", variant="primary", elem_id="erase")
            self.stop = gr.Button("Stop", variant="stop", visible=False, elem_id="stop")
        self.progress = gr.HTML(elem_id="progress")
        with gr.Accordion("Bring an edit", open=False, elem_id="bring"):
            self.files = gr.File(
                label="edit.json and edit.safetensors", file_count="multiple", file_types=[".json", ".safetensors"], height=170
            )
            self.brought = gr.HTML()

    def _compare(self) -> None:
        gr.HTML("<h2>3. Compare</h2>")
        with gr.Row(elem_id="controls"):
            self.edits = gr.CheckboxGroup(label="Edits that are on", elem_id="edits")
            self.strength = gr.Slider(0, 2, value=1, step=0.1, label="Strength", elem_id="strength", buttons=[])
        with gr.Row(elem_id="own"):
            self.prompt = gr.Textbox(
                label="Your own words", placeholder="a cat and a dog", scale=4, max_length=500, elem_id="prompt"
            )
            self.draw = gr.Button("Draw", scale=1, min_width=80, elem_id="draw")
            self.others = gr.Button("Other pictures", scale=1, min_width=120, elem_id="others")
        self.pictures = gr.HTML(elem_id="pictures")
        self.left = gr.HTML(elem_id="left")
        with gr.Row(elem_id="takeaway"):
            self.audit = gr.Button("Test it", min_width=130, elem_id="audit")
            self.export = gr.Button("Save as LoRA", min_width=130, elem_id="export")
            self.bundle = gr.Button("Save edit", min_width=130, elem_id="bundle")
            self.report = gr.Button("Open report", min_width=130, elem_id="report")
        self.said = gr.HTML(elem_id="said")
        self.made = gr.File(label="Your file", visible=False, interactive=False, elem_id="made")
        self.audited = gr.HTML(elem_id="audited")

    def _connect(self, page: gr.Blocks) -> None:
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": self.pictures, "api_visibility": "private"}
        last: dict[str, Any] = {"trigger_mode": "always_last"}
        of = [self.token, self.model, self.edits]
        look = [*of, self.strength, self.prompt, self.seed]
        line = [self.progress, self.erase, self.stop]
        sights_of = [self.edits, self.pictures, self.left, self.audited]

        page.load(None, js=CLOSE_MENUS)
        page.load(
            self._arrive,
            [self.token],
            [self.token, self.model, self.shown, self.concept, self.seen, *line, *sights_of],
            **quiet,
        )
        self.model.input(
            self._choose_model, [self.token, self.model, self.shown], [self.shown, self.concept, *sights_of], **shown
        )
        order = [self.concept, self.kind, self.also, self.method, self.evaluate]
        self.erase.click(self._erase, [self.token, self.model, *order], line, **quiet)
        self.stop.click(self._stop, [self.token], line, **quiet)
        gr.Timer(EVERY).tick(self._watch, [self.token, self.seen], [*line, self.seen], **quiet)
        self.seen.change(self._finish, [*of, self.seen], [self.model, self.shown, *sights_of], **quiet)
        self.files.upload(self._take_in, [self.token, self.model, self.files], [self.brought, self.files, *sights_of], **shown)
        for change in (self.strength.change, self.prompt.submit, self.draw.click):
            change(self._look, look, [self.pictures], **shown, **last)
        self.edits.input(self._switch, look, [self.pictures, self.left, self.audited], **shown, **last)
        self.others.click(lambda seed: seed + 100, [self.seed], [self.seed], **quiet).then(
            self._look, look, [self.pictures], **shown
        )
        self.audit.click(self._audit, of, [self.said, *line], **quiet)
        self.export.click(self._export, [*of, self.strength], [self.said, self.made], **quiet)
        self.bundle.click(self._bundle, of, [self.said, self.made], **quiet)
        self.report.click(self._report, of, [self.said, self.paper], **quiet).then(None, [self.paper], js=OPEN)

    # What events call. Each takes what the browser sends, and believes none of it.

    def _arrive(self, token: str, request: gr.Request) -> tuple[Any, ...]:
        if not _TOKEN.fullmatch(str(token)):
            token = secrets.token_urlsafe(24)
        who = _person(token, request)
        job = self.studio.line.latest(who)
        model = str(job.options["model"]) if job else "canvas"
        edits = self.studio.edits(who, model)
        on = [edit.name for edit in edits[-1:]]
        pictures = self.studio.first_look() if on == [EXAMPLE] else self._told(lambda: self.studio.look(who, model, on, 1.0))
        suggested = gr.update(choices=_suggested(self.studio, model))
        seen = _seen(self.studio, who)
        return token, model, model, suggested, seen, *self._line(who), *self._sights(who, model, on, pictures)

    def _choose_model(self, token: str, model: str, shown: str, request: gr.Request) -> tuple[Any, ...]:
        if model == shown:  # the field was left as it was, which Gradio calls an input too
            return (gr.skip(),) * 6
        who = _person(token, request)
        try:
            edits = self.studio.edits(who, model)
            choices = _suggested(self.studio, model)
        except _EXPECTED as error:
            return model, gr.update(choices=[]), gr.update(choices=[], value=[]), self._problem(error), "", ""
        on = [edit.name for edit in edits[-1:]]
        first = on == [EXAMPLE]
        pictures = self.studio.first_look() if first else self._told(lambda: self.studio.look(who, model, on, 1.0))
        return (
            model,
            gr.update(choices=choices, value=choices[0][1] if choices else ""),
            *self._sights(who, model, on, pictures),
        )

    def _erase(
        self, token: str, model: str, concept: str, kind: str, also: str, method: str, evaluate: str, request: gr.Request
    ) -> Any:
        who = _person(token, request)
        order = Order(str(concept or ""), kind or None, also or "", method, evaluate)
        return self._ordered(who, lambda: self.studio.erase(who, model, order))

    def _audit(self, token: str, model: str, names: list[str], request: gr.Request) -> tuple[Any, ...]:
        who = _person(token, request)
        try:
            self.studio.audit(who, model, names)
        except _EXPECTED as error:
            return self._problem(error), *self._line(who)
        return sights.note("It runs on the left, and what it finds appears here."), *self._line(who)

    def _ordered(self, who: str, order: Callable[[], object]) -> tuple[Any, ...]:
        try:
            order()
        except _EXPECTED as error:
            return self._problem(error) + self._line(who)[0], *self._line(who)[1:]
        return self._line(who)

    def _stop(self, token: str, request: gr.Request) -> tuple[Any, ...]:
        who = _person(token, request)
        self.studio.line.stop(who)
        return self._line(who)

    def _watch(self, token: str, seen: str, request: gr.Request) -> tuple[Any, ...]:
        if not (request.username or _TOKEN.fullmatch(str(token))):  # the page has not arrived yet
            return (gr.skip(),) * 4
        who = _person(token, request)
        now = _seen(self.studio, who)
        job = self.studio.line.latest(who)
        same = job is None or not job.unfinished
        return *(self._line(who) if not same or now != seen else [gr.skip()] * 3), now

    def _finish(self, token: str, model: str, names: list[str], seen: str, request: gr.Request) -> tuple[Any, ...]:
        who = _person(token, request)
        job = self.studio.line.latest(who)
        if job is None or job.state != "done" or _seen(self.studio, who) != seen:
            return (gr.skip(),) * 6
        model = str(job.options["model"])
        if job.verb == "audit":
            return *(gr.skip(),) * 5, self._told(lambda: self.studio.audited(who, model, names))
        on = [Path(job.options["out"]).parent.name]
        return model, model, *self._sights(who, model, on, self._told(lambda: self.studio.look(who, model, on, 1.0)))

    def _take_in(self, token: str, model: str, files: list[str], request: gr.Request) -> tuple[Any, ...]:
        who = _person(token, request)
        try:
            name = self.studio.take_in(who, model, [Path(file) for file in files])
        except _EXPECTED as error:
            return self._problem(error), None, *(gr.skip(),) * 4
        pictures = self._told(lambda: self.studio.look(who, model, [name], 1.0))
        return sights.note("It is among the edits now."), None, *self._sights(who, model, [name], pictures)

    def _look(
        self, token: str, model: str, names: list[str], strength: float, prompt: str, seed: int, request: gr.Request
    ) -> str:
        who = _person(token, request)
        strength, seed = min(max(float(strength), 0.0), 2.0), int(seed) % 2**31
        return self._told(lambda: self.studio.look(who, model, names, strength, str(prompt or "")[:500], seed))

    def _switch(
        self, token: str, model: str, names: list[str], strength: float, prompt: str, seed: int, request: gr.Request
    ) -> tuple[str, str, str]:
        who = _person(token, request)
        pictures = self._look(token, model, names, strength, prompt, seed, request)
        left = self._told(lambda: self.studio.left(who, model, names))
        return pictures, left, self._told(lambda: self.studio.audited(who, model, names))

    def _export(self, token: str, model: str, names: list[str], strength: float, request: gr.Request) -> tuple[Any, Any]:
        who = _person(token, request)
        return self._handed(lambda: self.studio.export(who, model, names, float(strength)))

    def _bundle(self, token: str, model: str, names: list[str], request: gr.Request) -> tuple[Any, Any]:
        who = _person(token, request)
        return self._handed(lambda: self.studio.bundle(who, model, names))

    def _report(self, token: str, model: str, names: list[str], request: gr.Request) -> tuple[str, str]:
        who = _person(token, request)
        try:
            return "", self.studio.report(who, model, names)
        except _EXPECTED as error:
            return self._problem(error), ""

    def _handed(self, make: Callable[[], Path]) -> tuple[Any, Any]:
        """A file to be fetched, or why there is none."""
        try:
            return "", gr.update(value=str(make()), visible=True)
        except _EXPECTED as error:
            return self._problem(error), gr.update(visible=False)

    def _line(self, who: str) -> tuple[Any, ...]:
        """How far the job is, and which of its two buttons can be pressed."""
        job = self.studio.line.latest(who)
        busy = job is not None and job.unfinished
        return self.studio.progress(who), gr.update(interactive=not busy), gr.update(visible=busy)

    def _sights(self, who: str, model: str, on: list[str], pictures: str) -> tuple[Any, ...]:
        """Everything about the edits of a model, some of which are on."""
        choices = [(edit.label, edit.name) for edit in self.studio.edits(who, model)]
        left = self._told(lambda: self.studio.left(who, model, on))
        return gr.update(choices=choices, value=on), pictures, left, self._told(lambda: self.studio.audited(who, model, on))

    def _told(self, act: Callable[[], str]) -> str:
        """What something gives, or what is wrong."""
        try:
            return act()
        except _EXPECTED as error:
            return self._problem(error)

    def _problem(self, error: Exception) -> str:
        """An error in a line that says nothing of where the studio keeps its files."""
        return sights.problem(cut(str(error).replace(f"{self.studio.root}/", ""), 600))


_TOKEN = re.compile(r"[\w-]{32}")
_EXPECTED = (ValueError, TypeError, OSError, FloatingPointError, RuntimeError)
"""What wrong input, a full disk or a model that does not fit raise."""


def _person(token: str, request: gr.Request) -> str:
    """Who asks: who has signed in, or else whose browser it is."""
    if request.username:
        return f"user {request.username}"
    if not _TOKEN.fullmatch(str(token)):
        raise gr.Error("The page has lost its place. Please reload it.")
    return f"browser {token}"


def _seen(studio: Studio, who: str) -> str:
    """Which job of the person has ended last, and how."""
    job = studio.line.latest(who)
    return f"{job.number} {job.state}" if job and not job.unfinished else ""


def _suggested(studio: Studio, model: str) -> list[tuple[str, str]]:
    """What the model knows: shown, and sent."""
    return [
        (
            each.name if each.kind == "object" else f"{each.name} ({each.kind})",
            each.name if each.kind == "object" else each.label,
        )
        for each in studio.catalog(model).concepts
    ]
