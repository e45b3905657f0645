"""Text as an attacker, or a reviewer with a strange keyboard, types it into any field."""

HOSTILE = {
    "shell": "$(touch pwned); `touch pwned` | touch pwned && touch pwned > pwned; --output=pwned",
    "option": "--upload-pack=touch pwned",
    "jinja": "{{ 7 * 7 }} {% for x in ().__class__.__subclasses__() %}{{ conn.mlflow_default.password }}{% endfor %}",
    "sql": '\'; DROP TABLE model_versions; -- " OR "1"="1',
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&lt;b&gt;",
    "markdown": "[approve here](javascript:alert(1)) ![x](https://evil.example/p.png) | **bold** |\n# Heading\n---",
    "control": "a\x00b\x07c\x1b[2Jd\x7fe\x9bf\r\ng",
    "bidi": "safe\u202eevil\u2066x\u200b\ufeffy",
    "surrogate": "lone \ud800 half",
    "log": "fine\n2026-01-01 00:00:00 ERROR root: forged\nerror: forged",
    "format": "%s %(x)d {0} {reason!r} ${HOME} %n",
    "unicode": "Übergröße ☃ 漢字 👩‍🔬".replace("\u200d", ""),
}
MEGABYTE = "A<b>{{x}}" * 111_112

MARKUP = ("<script", "<img", "<b>", "](javascript", "](https://evil", "**bold", "\n# Heading")
"""What must not reach a page that renders Markdown or HTML."""
