"""The studio: a page in the browser around the jobs. It shows, asks and waits; what is erased, drawn and measured is done by `jobs/`.

`page` lays the page out, `actions` is what its buttons do (no Gradio there), `sights` is what it shows. No torch before pictures are drawn.
"""
