"""The tabs of the Gradio app: their widgets, and which function answers which button and which call of the API."""

from pathlib import Path

import gradio as gr

from cellapp import weights as store
from cellapp.hub_card import LICENCES as HUB_LICENCES
from cellapp.methods import METHODS, Options
from cellapp.train_defaults import LICENCES, MINUTES
from cellapp.training import TrainingConfig
from cellapp.ui import gradio_compare, gradio_count, gradio_push, gradio_server, gradio_tune, gradio_weights
from cellapp.ui.counters import rows
from cellapp.ui.gradio_form import READING, answer, answered_file, endpoint, for_api, titles, weights, widget

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
IMAGES = sorted(str(path) for path in EXAMPLES.glob("*.png") if not path.stem.endswith("_labels"))
_MORE = READING[2:]                                          # folded away; the first two are asked for more often
_NARROW = "(...given) => [...given.slice(0, -1), window.innerWidth < 700]"     # panes on a phone are stacked
_HIDDEN = {"api_visibility": "private"}
_HUB = {"concurrency_id": "hub", "concurrency_limit": 2}      # transfers at a time


def count(session: gr.State) -> gr.Dropdown:
    """Images in, the number and why; the list of weights is given back, for a training adds to it."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            images = gr.File(label="Images, or a zip of them", file_count="multiple", height=160)
            chosen = weights("Method and weights", store.manifest())
            reading = _reading()
            go, stop = _buttons("Count")
            _examples([[[path]] for path in IMAGES], images)
        with gr.Column(scale=3, min_width=320):
            hero = _answer("Give microscopy images or take an example: you get the count, a density map that "
                           "sums to it, and the cells found one by one.")
            maps = gr.Plot(show_label=False, visible=False)
            table = _table("Counts", gradio_count.SHOWN)
            pictures = gr.Gallery(label="Overlays", visible=False, columns=3, object_fit="contain", format="png")
            archive = gr.File(label="Everything as zip", visible=False)
    given = [images, chosen, *(reading[name] for name in READING), session]
    _answers(go, gradio_count.count, gradio_count.page, (Options, READING), given,
             [answer("rows", gradio_count.ROWS), answered_file()],
             [hero, maps, table, pictures, archive], stop, **gradio_server.slot())
    one = [gr.File(label="image", visible=False), *map(for_api, given[1:])]
    _api(gradio_count.count_image, (Options, READING), one, [answer("rows", gradio_count.ROWS), answered_file()],
         **gradio_server.slot())
    return chosen


def compare(session: gr.State) -> gr.Dropdown:
    """One image, several weights."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            image = gr.File(label="Image", height=160)
            there = store.manifest()
            chosen = weights("Methods and weights", there, multiselect=True, filterable=True,
                             value=gradio_compare.first_of_each(there))
            reading = _reading()
            go, stop = _buttons("Compare")
            _examples([[path] for path in IMAGES], image)
        with gr.Column(scale=3, min_width=320):
            hero = _answer("Several methods count one image: their numbers in one table, their maps side by "
                           "side, and a sentence on how far they agree.")
            dots = gr.Plot(show_label=False, visible=False)
            maps = gr.Plot(show_label=False, visible=False)
            table = _table("Methods", gradio_compare.SHOWN)
            archive = gr.File(label="Everything as zip", visible=False)
    given = [image, chosen, *(reading[name] for name in READING), session]
    _answers(go, gradio_compare.compare, gradio_compare.page, (Options, READING), given,
             [answer("rows", gradio_count.ROWS), answer("agreement", gradio_compare.AGREEMENT), answered_file()],
             [hero, dots, maps, table, archive], stop, **gradio_server.slot())
    return chosen


def fine_tune(session: gr.State, lists: list[gr.Dropdown]) -> gr.Dropdown:
    """Images and truth in, new weights out, which join the ``lists`` of the other tabs; the list of this one."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            images = gr.File(label="Images (two to ten)", file_count="multiple", height=165)
            truth = gr.File(label="Dots, label masks or a table of counts", file_count="multiple", height=165)
            start = weights("Begin with", store.manifest(), gradio_tune.starts(METHODS.values()))
            minutes = gr.Number(MINUTES, minimum=0.1, maximum=1440, label="Minutes of training")
            name = gr.Textbox("my cells", label="Name of the new weights", max_length=60)
            with gr.Accordion("More settings", open=False):
                licence = gr.Dropdown(list(LICENCES), value=LICENCES[0], label="Licence of the images",
                                      allow_custom_value=True)
                together = gr.Dropdown(list(gradio_tune.GROUPS.items()), value="image", label="Keep together",
                                       info="Images of one slide or animal go to the same side.", filterable=False)
                settings = [widget(TrainingConfig, one, empty=True) for one in gradio_tune.SETTINGS]
            go, stop = _buttons("Start training")
        with gr.Column(scale=3, min_width=320):
            hero = _answer("Give a few of your images with dots set by hand. Weights that count something "
                           "similar learn from them; you see the error before and after on images kept back. "
                           "Stay on this page until it is done.")
            curves = gr.Plot(show_label=False, visible=False)
            scatter = gr.Plot(show_label=False, visible=False)
            table = _table("Images kept back", gradio_tune.SHOWN)
            archive = gr.File(label="New weights", visible=False)
    given = [images, truth, start, minutes, name, licence, together, *settings, session]
    done = _answers(go, gradio_tune.fine_tune, gradio_tune.page, (TrainingConfig, gradio_tune.SETTINGS), given,
                    [answer("rows", gradio_tune.ROWS), answer("summary", gradio_tune.SUMMARY), answered_file(),
                     session],
                    [hero, curves, scatter, table, archive, session], stop, concurrency_id="training",
                    concurrency_limit=1)
    done.then(_relisted, session, [*lists, start], **_HIDDEN)
    return start


def all_weights(session: gr.State, tab: gr.Tab, lists: list[gr.Dropdown]) -> None:
    """What is on this machine; what is pulled joins the ``lists`` of the other tabs."""
    there = store.manifest()
    gr.Markdown("The weights on this machine. A file is read only after its size and its sha256 are those of the "
                "manifest; *Verify* counts the known answer, *Download* gives a zip that `CELLAPP_WEIGHTS` can name.")
    with gr.Row():
        chosen = weights("Weights", there, min_width=300)
        verify, save = _beside("Verify"), _beside("Download")
    with gr.Row():
        repository = gr.Textbox(label="From the Hugging Face Hub", placeholder="user/repo or user/repo@revision",
                                max_lines=1, scale=3, min_width=260)
        token = gr.Textbox(label="Your token, for private ones and to push", type="password", max_lines=1, scale=2,
                           min_width=260)
        fetch = _beside("Pull")
    _push(session, chosen, token)
    verdict = gr.Markdown(visible=False)
    archive = gr.File(label="Weights", visible=False)
    table = _table("On this machine", gradio_weights.SHOWN, gradio_weights.table(there))
    slot = gradio_server.slot()
    verify.click(endpoint(gradio_weights.shown), [chosen, session], verdict, **_HIDDEN, **slot)
    save.click(endpoint(gradio_weights.saved), [chosen, session], archive, **_HIDDEN)
    fetched = fetch.click(endpoint(gradio_weights.pulled), [repository, token, session],
                          [verdict, chosen, table, session], **_HIDDEN, **_HUB)
    fetched.then(_relisted, session, lists, **_HIDDEN)
    listed, ids = gr.Button(visible=False), for_api(chosen)
    listed.click(endpoint(gradio_weights.weights), session, answer("rows", gradio_weights.ROWS), api_name="weights")
    listed.click(endpoint(gradio_weights.check), [ids, session], answer("answer", gradio_weights.VERDICT),
                 api_name="verify", **slot)
    listed.click(endpoint(gradio_weights.pull), [repository, for_api(token), session],
                 [answer("row", gradio_weights.ROW), session], api_name="pull", **_HUB)
    listed.click(endpoint(gradio_weights.download), [ids, session], answered_file(),
                 api_name="download")
    tab.select(_listed_again, session, [chosen, table], **_HIDDEN)


def _push(session: gr.State, chosen: gr.Dropdown, token: gr.Textbox) -> None:
    """Where to, what would leave this server, and only then the button that sends it."""
    with gr.Accordion("Push to the Hugging Face Hub", open=False):
        with gr.Row():
            repository = gr.Textbox(label="Repository", placeholder="your-name/my-cells", max_lines=1,
                                    info="It is made if it is not there.")
            licence = gr.Dropdown([gradio_push.STATED, *HUB_LICENCES], value=gradio_push.STATED, label="Licence",
                                  info="Asked for where the weights state none.", allow_custom_value=True)
        include = gr.CheckboxGroup(gradio_push.INCLUDES, label="Take along",
                                   info="Of a training in this visit; they stay here unless you tick them.")
        public = gr.Checkbox(False, label="Public: everybody may see it", info="Otherwise only you may.")
        look = gr.Button("List what would leave")
        leaving = gr.Markdown(visible=False)
        files = _table("Files", gradio_push.SHOWN)
        with gr.Accordion("The model card", open=False, visible=False) as about:
            card = gr.Code(language="markdown", show_label=False, interactive=False, wrap_lines=True, max_lines=20,
                           show_line_numbers=False)
        go = gr.Button("Push these files", variant="primary", visible=False)
        told = gr.Markdown(visible=False)
    seen = gr.State(None)
    asked = [public, licence, include]
    look.click(endpoint(gradio_push.look), [chosen, repository, *asked, session],
               [leaving, files, card, about, go, seen], **_HIDDEN)
    for one in (chosen, repository, *asked):
        one.change(gradio_push.unseen, None, [leaving, files, about, go, seen], show_progress="hidden", **_HIDDEN)
    go.click(endpoint(gradio_push.pushed), [chosen, repository, token, *asked, seen, session], [told, go, seen],
             show_progress_on=told, **_HIDDEN, **_HUB)
    _api(gradio_push.push, (), [*map(for_api, (chosen, repository, token, *asked)), gr.Checkbox(
        False, label="dry_run", visible=False), session],
         [answer("files", gradio_push.FILES), answer("answer", gradio_push.PUSHED)], **_HUB)


def _answers(go: gr.Button, api, page, declared, given: list, plain: list, seen: list, stop: gr.Button, **slot):
    """One function for the API and one for the page behind a button, on the same widgets.

    declared : a model and its fields among the widgets; plain, seen : what the API and what the page gets
    """
    _api(api, declared, [for_api(one) for one in given], plain, **slot)
    narrow = gr.Checkbox(False, visible=False)
    done = go.click(endpoint(page, *declared), [*given, narrow], seen, js=_NARROW, show_progress_on=seen[0],
                    **_HIDDEN, **slot)
    stop.click(None, cancels=[done])
    return done


def _api(function, declared, given: list, plain: list, **slot) -> None:
    """An endpoint without a button; its whole docstring describes it."""
    answering = endpoint(function, *declared)
    gr.Button(visible=False).click(answering, given, plain, api_name=function.__name__,
                                   api_description=answering.__doc__, **slot)


def _buttons(verb: str) -> tuple[gr.Button, gr.Button]:
    with gr.Row():
        return gr.Button(verb, variant="primary", scale=3, min_width=120), gr.Button("Stop", scale=1, min_width=70)


def _beside(verb: str) -> gr.Button:
    """A button at the foot of the fields in its row."""
    return gr.Button(verb, scale=0, min_width=130, elem_classes="beside")


def _reading() -> dict:
    """The widgets of `Options`."""
    found = {name: widget(Options, name) for name in READING if name not in _MORE}
    with gr.Accordion("More settings", open=False):
        return found | {name: widget(Options, name) for name in _MORE}


def _table(label: str, columns: dict[str, int], rows: list[list] | None = None) -> gr.Dataframe:
    """A table with the widths of its columns; it is seen when there is something in it."""
    return gr.Dataframe(rows, headers=list(columns), column_widths=[f"{width}px" for width in columns.values()],
                        label=label, interactive=False, wrap=True, visible=bool(rows))


def _examples(samples: list, place: gr.File) -> None:
    gr.Examples(samples, inputs=[place], label="Examples (simulated)", api_visibility="private",
                example_labels=[Path(path).stem for path in IMAGES])


def _listed_again(session: str | None):
    there = rows(gradio_server.space_of(session))
    return gr.update(choices=titles(there)), gradio_weights.table(there)


def _relisted(session: str | None):
    there = titles(rows(gradio_server.space_of(session)))
    further = gradio_tune.starts(METHODS.values())
    return gr.update(choices=there), gr.update(choices=there), gr.update(choices=[*there, *further])


def _answer(words: str) -> gr.HTML:
    """Where the answer is told, and before it what the tab is for."""
    return gr.HTML(f"<p>{words}</p>", elem_classes="answer")
