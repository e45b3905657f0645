"""The pictures of a review: those of ``pages.charts``."""

from include.retraining.pages.charts import picture_size, render_chart

__all__ = ["picture_size", "render_chart"]
