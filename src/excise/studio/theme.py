"""Colours and letters of the page. All letters are those of the reader's system: none is fetched."""

from __future__ import annotations

import gradio as gr


def theme() -> gr.themes.Base:
    """Quiet paper and ink, as the report has them, light and dark."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.sky,
        neutral_hue=gr.themes.colors.stone,
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
    ).set(
        body_background_fill="#fbfaf8", body_background_fill_dark="#14161a",
        body_text_color="#1d2025", body_text_color_dark="#e8e6e1",
        body_text_color_subdued="#5b616b", body_text_color_subdued_dark="#a2a8b3",
        block_info_text_color="#5b616b", block_info_text_color_dark="#a2a8b3",
        block_label_text_color="#1d2025", block_label_text_color_dark="#e8e6e1",
        block_title_text_color="#1d2025", block_title_text_color_dark="#e8e6e1",
        block_background_fill="transparent", block_background_fill_dark="transparent",
        block_border_width="0px", block_shadow="none", block_padding="0",
        input_background_fill="#ffffff", input_background_fill_dark="#1b1e24",
        input_border_color="#8b8f96", input_border_color_dark="#767d89", input_border_width="1px",
        input_placeholder_color="#6a707a", input_placeholder_color_dark="#9aa1ad",
        button_primary_background_fill="#24527a", button_primary_background_fill_dark="#8fbce6",
        button_primary_background_fill_hover="#1b4062", button_primary_background_fill_hover_dark="#a9ccec",
        button_primary_text_color="#ffffff", button_primary_text_color_dark="#14161a",
        button_primary_border_color="#24527a", button_primary_border_color_dark="#8fbce6",
        button_secondary_background_fill="#ffffff", button_secondary_background_fill_dark="#1b1e24",
        button_secondary_border_color="#8b8f96", button_secondary_border_color_dark="#767d89",
        button_secondary_text_color="#1d2025", button_secondary_text_color_dark="#e8e6e1",
        button_cancel_background_fill="#ffffff", button_cancel_background_fill_dark="#1b1e24",
        button_cancel_text_color="#9c2f10", button_cancel_text_color_dark="#f0a58a",
        button_cancel_border_color="#9c2f10", button_cancel_border_color_dark="#f0a58a",
        slider_color="#24527a", slider_color_dark="#8fbce6",
        checkbox_background_color_selected="#24527a", checkbox_background_color_selected_dark="#8fbce6",
        checkbox_border_color="#6a707a", checkbox_border_color_dark="#9aa1ad",
        color_accent="#24527a",
    )  # fmt: skip
