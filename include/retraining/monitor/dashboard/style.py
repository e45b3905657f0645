"""How the monitoring's page looks, beside what it shares with other pages."""

from include.retraining.pages.style import STYLE as SHARED

STYLE = (
    SHARED
    + """
.jump { display: flex; flex-wrap: wrap; gap: 2px 16px; margin-top: 10px; font-size: 13.5px; }
.first .title { font-weight: 650; }
.first .since { color: var(--soft); font-size: 13px; margin-left: .35em; }
.first .do { font-weight: 600; margin-top: 4px; }
.first .do::before { content: "→ "; color: var(--tone); }
.now + .chart { max-width: 780px; }
.now { flex: 0 1 auto; min-width: 0; max-width: 100%; }
.now figcaption { font-weight: 600; font-size: 14px; padding-bottom: 6px; }
.now table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
.now th, .now td { text-align: right; padding: 6px 0 6px 22px; border-top: 1px solid var(--edge); font-weight: 400;
  vertical-align: baseline; }
.now thead th { border-top: 0; color: var(--soft); font-size: 12.5px; font-weight: 600; }
.now th:first-child { text-align: left; padding-left: 0; color: var(--soft); }
.now .main th:first-child { color: var(--ink); font-weight: 650; }
.now b, .now .main td { font-size: 21px; font-weight: 700; line-height: 1.2; }
.now .verdict, .now .than { display: block; font-size: 12.5px; font-weight: 400; white-space: nowrap; }
.now .than { color: var(--soft); }
.list { width: 100%; border-collapse: collapse; font-size: 13.5px; line-height: 1.35; margin-top: 8px;
  font-variant-numeric: tabular-nums; }
.list th, .list td { padding: 5px 14px 5px 0; text-align: left; vertical-align: baseline; font-weight: 400;
  border-top: 1px solid var(--edge); }
.list thead th { border-top: 0; color: var(--soft); font-size: 12.5px; font-weight: 600; }
.list .fail .key, .list .warn .key { font-weight: 650; }
.list .fact, .list .said { white-space: nowrap; }
.list .of { display: none; }
.list .pass .told { color: var(--soft); }
summary { cursor: pointer; color: var(--link); font-size: 13.5px; padding: 6px 0 2px; }
summary:focus-visible { outline: 2px solid var(--link); }

@media screen and (min-width: 721px) {
  .list { table-layout: fixed; }
  .list th:first-child { width: 18%; }
  .list th:nth-child(n + 2) { width: 10%; }
  .list th:last-child { width: 43%; }
}
@media screen and (max-width: 720px) {
  .now table { width: 100%; }
  .now th, .now td { padding-left: 8px; }
  .now b, .now .main td { font-size: 18px; }
  .now .verdict, .now .than { font-size: 11.5px; white-space: normal; }
  .list, .list tbody { display: block; }
  .list thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .list tr { display: flex; flex-wrap: wrap; gap: 0 12px; padding: 6px 0 7px; border-top: 1px solid var(--edge); }
  .list th, .list td { border: 0; padding: 0; }
  .list .key { flex: 1 1 60%; }
  .list .fact, .list .said { white-space: normal; min-width: 0; }
  .list .fact { font-size: 12.5px; color: var(--soft); }
  .list .of { display: inline; margin-right: .35em; text-transform: lowercase; }
  .list .told { width: auto; flex: 1 0 100%; font-size: 12.5px; }
}
"""
)
