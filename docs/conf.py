"""The site: `pip install -e ".[docs]" && python -m sphinx -W docs site`. Every page can be read as it lies here too."""

import xlstm

project = "xp-lstm"
author = copyright = "The xp-lstm developers"
release = version = xlstm.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
exclude_patterns = ["site"]
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.header"]  # the page of benchmarks is included below a heading
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what is meant
html_theme = "pydata_sphinx_theme"
html_title = "xp-lstm"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "pygments_light_style": "a11y-high-contrast-light",
}
copybutton_prompt_text = "$ "


def setup(app):
    """What pages link to outside of docs/ is a page of the site."""

    def inside(app, name, source):
        for outside in ("../benchmarks/README.md", "../benchmarks/results"):
            source[0] = source[0].replace(f"]({outside})", "](benchmarks.rst)")

    app.connect("source-read", inside)
