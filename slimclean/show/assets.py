"""Style and script of the HTML report; both travel inside the page."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --text: #1d2129; --soft: #5a6270; --line: #d9dde3; --back: #ffffff;
  --card: #f6f7f9; --accent: #0072b2; --bad: #b3261e; --mean: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --soft: #a3abb8; --line: #3a404a;
  --back: #15181d; --card: #1e2229; --accent: #56b4e9; --bad: #ff8a80; --mean: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 1240px; background: var(--back); color: var(--text);
  font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem .9rem; }
.tiles b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid var(--line); text-align: right; }
td { white-space: nowrap; }
th { vertical-align: bottom; padding: 0; }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: .35rem .6rem;
  width: 100%; text-align: inherit; cursor: pointer; }
th button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort=ascending] button::after { content: " \\2191"; color: var(--accent); }
th[aria-sort=descending] button::after { content: " \\2193"; color: var(--accent); }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere;
  min-width: 14rem; }
th.status, td.status { text-align: left; white-space: normal; min-width: 9rem; }
tbody tr:hover { background: var(--card); }
a { color: var(--accent); }
.failed { color: var(--bad); }
section.recording { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0;
  padding: .8rem 1rem; }
section.recording h3 { margin: 0 0 .2rem; font-size: 1.05rem; overflow-wrap: anywhere; }
.row { display: grid; grid-template-columns: 5rem minmax(0, 1fr) 17rem; gap: .3rem .7rem; align-items: center;
  margin-top: .5rem; }
.row > .name { text-align: right; font-size: .85rem; }
.row img { width: 100%; height: 110px; display: block; border-radius: 3px; }
.row svg { width: 100%; height: 48px; display: block; background: var(--back); border: 1px solid var(--line); }
.row audio { width: 100%; height: 38px; }
.scale { display: flex; justify-content: space-between; font-size: .8rem; }
.row .soft { font-size: .85rem; }
@media (max-width: 800px) { .row { grid-template-columns: 1fr; } .row > .name { text-align: left; } }
@media print { audio, th button::after { display: none; } section.recording { break-inside: avoid; } }
"""

SCRIPT = """
"use strict";
document.querySelectorAll("table.sortable").forEach(table => {
  const headers = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
    const down = header.getAttribute("aria-sort") === "ascending";
    headers.forEach(other => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.value;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = header.dataset.kind === "number" ? x - y : x.localeCompare(y, undefined, {numeric: true});
      return down ? -order : order;
    };
    body.append(...[...body.rows].sort(compare));
  }));
});
document.addEventListener("play", event => {
  document.querySelectorAll("audio").forEach(other => { if (other !== event.target) other.pause(); });
}, true);
"""
