"""How pages look: their style sheet and the signs of verdicts. Nothing in it comes from anywhere else."""

from include.retraining.pages.figures import Verdict

_SHAPES = {
    Verdict.PASS: '<circle cx="8" cy="8" r="8"/><path d="M4.4 8.3l2.4 2.4 4.8-5" class="cut"/>',
    Verdict.WARN: '<path d="M8 .6a1.2 1.2 0 0 1 1 .6l6.8 12a1.2 1.2 0 0 1-1 1.8H1.2a1.2 1.2 0 0 1-1-1.8l6.8-12'
    'a1.2 1.2 0 0 1 1-.6z"/><path d="M8 5.2v4.3M8 12v.2" class="cut"/>',
    Verdict.FAIL: '<path d="M4.7 0h6.6L16 4.7v6.6L11.3 16H4.7L0 11.3V4.7z"/><path d="M5 5l6 6M11 5l-6 6" class="cut"/>',
    Verdict.NONE: '<circle cx="8" cy="8" r="7" class="hollow"/><path d="M4.8 8h6.4" class="line"/>',
}
SIGNS = {
    verdict: f'<svg class="sign" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{shape}</svg>'
    for verdict, shape in _SHAPES.items()
}
"""A disc, a triangle, an octagon and a ring: they differ without colour."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #f4f6f8; --card: #ffffff; --ink: #1c2128; --soft: #57606a; --edge: #d8dee4; --stripe: #f6f8fa;
  --link: #0550ae; --pass: #1a7f37; --pass-soft: #e6f6ea; --warn: #8a5a00; --warn-fill: #d98a00;
  --warn-soft: #fff5d6; --fail: #b3261e; --fail-soft: #fdeceb; --none: #6e7781; --none-soft: #eef1f4;
  --mark: #fff5d6; --shade: rgba(27, 31, 36, .16);
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #0d1117; --card: #161b22; --ink: #e6edf3; --soft: #9ba5b0; --edge: #30363d; --stripe: #1b2129;
    --link: #6cb2ff; --pass: #4ac26b; --pass-soft: #12261a; --warn: #e3b341; --warn-fill: #e3b341;
    --warn-soft: #2d2410; --fail: #ff7b72; --fail-soft: #3a1a1a; --none: #9ba5b0; --none-soft: #22282f;
    --mark: #332a12; --shade: rgba(0, 0, 0, .6);
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
.page { max-width: 1340px; margin: 0 auto; padding: 16px 24px 32px; }
h1, h2, p, dl, dd, ul, figure { margin: 0; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
h1, h2, p, li, dd, td, th, figcaption { overflow-wrap: anywhere; }
.sign { flex: none; width: 1em; height: 1em; vertical-align: -.13em; fill: currentColor; }
.sign .cut { fill: none; stroke: var(--card); stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.sign .hollow, .sign .line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; }
.verdict { white-space: nowrap; }
.verdict.warn, .verdict.fail { font-weight: 700; }
.pass { --tone: var(--pass); --tone-soft: var(--pass-soft); --tone-fill: var(--pass); }
.warn { --tone: var(--warn); --tone-soft: var(--warn-soft); --tone-fill: var(--warn-fill); }
.fail { --tone: var(--fail); --tone-soft: var(--fail-soft); --tone-fill: var(--fail); }
.none { --tone: var(--none); --tone-soft: var(--none-soft); --tone-fill: var(--none); }
.verdict, .badge { color: var(--tone); }
.verdict .sign, .badge .sign { color: var(--tone-fill); margin-right: .4em; }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 10px; }

.top { display: grid; grid-template-columns: 1fr auto; gap: 2px 24px; align-items: center; }
.kicker { color: var(--soft); font-size: 13px; }
.links { font-size: 13px; text-align: right; }
.links a { margin-left: 16px; }
h1 { font-size: 27px; line-height: 1.2; letter-spacing: -.01em; }
.badge {
  display: inline-flex; align-items: center; padding: 6px 14px; border-radius: 999px; font-size: 17px;
  font-weight: 700; background: var(--tone-soft); border: 1.5px solid var(--tone-fill); justify-self: end;
}
.lead { margin-top: 6px; }
.ask { color: var(--soft); }
.headline { font-size: 18px; line-height: 1.4; font-weight: 600; margin-top: 6px; text-wrap: pretty; }
.rows { color: var(--soft); font-size: 14px; margin-top: 4px; }

.first { list-style: none; padding: 0; margin: 12px 0 0; display: grid; gap: 10px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.first li { padding: 9px 14px 10px; border-left: 5px solid var(--tone-fill); background: var(--tone-soft); }
.first .verdict { margin-right: .6em; }
.first a { font-weight: 600; }
.first p { font-size: 14px; margin-top: 1px; }

.heading { display: flex; justify-content: space-between; align-items: baseline; gap: 4px 16px; flex-wrap: wrap; }
.overview { margin-top: 12px; padding: 9px 16px 6px; }
.overview h2 { font-size: 15px; }
.tally { color: var(--soft); font-size: 13px; }
.checks { width: 100%; border-collapse: collapse; font-size: 13.5px; line-height: 1.3; margin-top: 4px; }
.checks thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.checks td, .checks th { padding: 3.5px 14px 3.5px 0; text-align: left; vertical-align: baseline; font-weight: 400;
  border-top: 1px solid var(--edge); }
.checks .key { width: 26%; }
.checks .said { width: 1%; white-space: nowrap; }
.checks .warn .key a, .checks .fail .key a { font-weight: 600; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 4px 20px;
  margin-top: 12px; padding: 8px 16px 9px; font-size: 13px; line-height: 1.35; }
.facts dt { color: var(--soft); font-size: 12px; }
.facts dd { white-space: pre-line; font-variant-numeric: tabular-nums; }

.item { margin-top: 16px; padding: 14px 18px 16px; scroll-margin-top: 10px; }
.item.warn, .item.fail { border-left: 5px solid var(--tone-fill); }
.item:target { outline: 2px solid var(--link); outline-offset: 2px; }
.item h2 { font-size: 17px; line-height: 1.3; }
.item .heading { align-items: center; }
.item .heading h2 { flex: 1 1 240px; }
.back { font-size: 13px; }
.sentence { margin-top: 3px; max-width: 110ch; }
.evidence { display: flex; flex-wrap: wrap; gap: 14px 20px; margin-top: 12px; align-items: flex-start; }
.chart { background: #fff; color: #1c2128; border: 1px solid var(--edge); border-radius: 8px; padding: 10px 10px 6px;
  flex: 1 1 480px; max-width: 640px; min-width: 0; break-inside: avoid; }
.chart figcaption { font-weight: 600; font-size: 14px; padding: 0 4px 4px; }
.chart .hint { color: #57606a; font-weight: 400; font-size: 12.5px; }
.chart img { display: block; width: 100%; height: auto; }
.table { min-width: 0; max-width: 100%; break-inside: avoid; }
.scroll { overflow-x: auto; border: 1px solid var(--edge); border-radius: 8px; max-width: max-content;
  background: linear-gradient(90deg, transparent, var(--card) 70%) right / 40px 100% no-repeat local,
    linear-gradient(90deg, transparent, var(--shade)) right / 16px 100% no-repeat scroll; }
.scroll:focus-visible { outline: 2px solid var(--link); }
.numbers { border-collapse: separate; border-spacing: 0; font-size: 13.5px; font-variant-numeric: tabular-nums; }
.numbers th, .numbers td { padding: 5px 12px; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--edge); font-weight: 400; }
.numbers thead th { border-top: 0; background: var(--stripe); color: var(--soft); font-size: 12.5px; font-weight: 600;
  vertical-align: bottom; }
.numbers .words { text-align: left; white-space: normal; min-width: 12em; }
.numbers tr > :first-child { text-align: left; position: sticky; left: 0; border-right: 1px solid var(--edge); }
.numbers tbody tr > :first-child { background: var(--card); }
.numbers .name { display: block; width: max-content; max-width: 26em; white-space: normal; }
.numbers tbody .marked > * { background: var(--mark); font-weight: 650; }
.numbers .marked > :first-child { box-shadow: inset 4px 0 0 var(--warn-fill); }
.pointer { color: var(--warn); }
.note { color: var(--soft); font-size: 13px; margin-top: 5px; max-width: 70ch; }
.end { color: var(--soft); font-size: 13px; margin-top: 20px; }

@media screen and (max-width: 720px) {
  .page { padding: 12px 14px 28px; }
  .top { display: flex; flex-wrap: wrap; gap: 4px 14px; }
  .kicker, h1 { flex: 1 0 100%; }
  .links { order: 9; }
  .links a { margin: 0 0 0 10px; }
  .links a:first-child { margin-left: 0; }
  h1 { font-size: 21px; }
  .badge { font-size: 16px; padding: 3px 12px; }
  .headline { font-size: 16px; }
  .rows { font-size: 13px; }
  .overview { padding: 10px 12px 6px; }
  .checks, .checks tbody { display: block; }
  .checks tr { display: grid; grid-template-columns: 1fr auto; gap: 0 10px; padding: 3px 0 4px;
    border-top: 1px solid var(--edge); }
  .checks td, .checks th { border: 0; padding: 0; }
  .checks .key, .checks .said { width: auto; min-width: 0; white-space: normal; }
  .checks .found { grid-column: 1 / -1; font-size: 12.5px; color: var(--soft); overflow: hidden; display: -webkit-box;
    -webkit-box-orient: vertical; -webkit-line-clamp: 2; line-clamp: 2; }
  .checks .warn .found, .checks .fail .found { display: none; }
  .facts { grid-template-columns: 1fr 1fr; padding: 8px 12px; gap: 4px 14px; font-size: 12.5px; }
  .item { padding: 12px 12px 14px; margin-top: 12px; }
  .item .heading h2 { flex: 1 0 100%; }
  .first { gap: 8px; }
  .first p { font-size: 13.5px; line-height: 1.4; }
  .ask { font-size: 14px; }
  .evidence { display: block; }
  .evidence > * + * { margin-top: 14px; }
  .chart { padding: 8px 4px 4px; }
  .numbers th, .numbers td { padding: 5px 9px; }
  .numbers .name { max-width: 36vw; }
}
@media print {
  :root { --ground: #fff; --shade: transparent; color-scheme: light; }
  body { font-size: 10.5pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .page { max-width: none; padding: 0; }
  .back { display: none; }
  .links { visibility: hidden; }
  a { color: inherit; }
  .chart { flex-basis: 300px; }
  .numbers th, .numbers td { padding: 3px 8px; font-size: 9pt; }
  .item > .heading, .item > .sentence { break-after: avoid; }
  .first li, .overview tr { break-inside: avoid; }
  .scroll { overflow: visible; }
}
"""
