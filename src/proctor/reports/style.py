"""The page's one style sheet, and the policy that lets a browser apply it and load nothing else."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["CSP", "CSS"]

CSS = """
:root{--ink:#1b1b1a;--soft:#5c5b57;--page:#fff;--panel:#f5f4f1;--line:#d5d3cc;--link:#0b5394;
--violation:#a61b1b;--suspect:#8a5a00;--nothing:#3f6212;--b0:#cfe0ee;--b1:#e4d9ee;--lane:#6a7f94}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e8e6e1;--soft:#a5a29a;--page:#171716;--panel:#22211f;
--line:#45433e;--link:#8fbfe8;--violation:#ff8f86;--suspect:#f0b95a;--nothing:#a3cf77;--b0:#2b455c;--b1:#45365a;
--lane:#8ba0b5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1.5rem 1.25rem 4rem;background:var(--page);color:var(--ink);
font:1rem/1.5 system-ui,"Segoe UI","Liberation Sans","DejaVu Sans",sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem}
h2{font-size:1.2rem;margin:2.25rem 0 .5rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:0 0 .35rem}
p{margin:.4rem 0}ul{margin:.4rem 0;padding-left:1.3rem}li{margin:.15rem 0}
a{color:var(--link)}
code,pre,svg text{font-family:ui-monospace,"Liberation Mono","DejaVu Sans Mono",monospace}
code,pre{font-size:.85em}
code,td,li,p,dd,h1,h3{overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--panel);border:1px solid var(--line);
padding:.5rem .7rem;margin:.4rem 0;border-radius:4px}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.8rem 0}
dt{color:var(--soft)}dd{margin:0}
.soft{color:var(--soft)}
.verdict{display:inline-block;padding:0 .6rem;border:2px solid currentColor;border-radius:4px}
.is-violation{color:var(--violation)}.is-suspect,.is-incomplete{color:var(--suspect)}.is-clean{color:var(--nothing)}
.cut{border:2px dotted var(--suspect);padding:.7rem .9rem}
article{border:1px solid var(--line);border-left:5px solid var(--nothing);border-radius:4px;padding:.7rem .9rem;
margin:.8rem 0}
article.w-violation{border-left:5px double var(--violation)}article.w-suspect{border-left:5px dashed var(--suspect)}
.traits{display:flex;flex-wrap:wrap;gap:.3rem;padding:0;margin:.5rem 0;list-style:none}
.traits li{border:1px solid var(--line);border-radius:3px;padding:0 .4rem;font-size:.82rem;background:var(--panel)}
ul.evidence{list-style:none;padding:0;font-size:.92rem}
table{border-collapse:collapse;width:100%;font-size:.88rem;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600}
td.n,th.n{text-align:right;white-space:nowrap}
td.p{white-space:nowrap}
td.s{min-width:4.5rem;overflow-wrap:break-word}
.picture{overflow-x:auto;border:1px solid var(--line);border-radius:4px;padding:.4rem}
.picture svg{display:block;min-width:46rem;width:100%;height:auto}
svg text{font-size:11px;fill:var(--ink)}svg .tick{fill:var(--soft);font-size:10px}
svg .number{font-weight:700}
.grid{stroke:var(--line)}.rail{stroke:var(--line);stroke-dasharray:1 4}.lane{fill:var(--lane)}
.band{stroke:var(--soft);stroke-width:.6}.b0{fill:var(--b0)}.b1{fill:var(--b1)}
path.violation{fill:var(--violation);stroke:var(--page)}path.suspect{fill:var(--page);stroke:var(--suspect);stroke-width:2}
circle.nothing{fill:var(--page);stroke:var(--nothing);stroke-width:2}
.response{stroke:var(--violation);stroke-width:1.6}.gap{stroke:var(--ink);stroke-width:2;stroke-dasharray:2 3}
.key{vertical-align:-3px}
.cited{margin:.8rem 0}.cited:target pre{border-color:var(--link);border-width:2px}
@page{size:A4;margin:14mm}
@media print{body{max-width:none;padding:0;font-size:9.5pt}a{color:inherit}h1{font-size:15pt}h2{font-size:12pt;
break-after:avoid;margin-top:14pt}h3{break-after:avoid}article,tr,.cited,.picture,li{break-inside:avoid}
thead{display:table-header-group}.picture{overflow:visible}.picture svg{min-width:0}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
""".strip()

CSP = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()}'"
)
"""Content Security Policy Level 3: nothing is loaded or run, and no style but :data:`CSS` (by its hash) is applied."""
