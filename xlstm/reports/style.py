"""The style of a report: light and dark, wide, narrow and on paper."""

STYLE = """
:root{color-scheme:light dark;--back:#fff;--ink:#1b1e23;--soft:#565d68;--line:#d5d9e0;--raise:#f4f6f9;--link:#1a56c4;
--edge:rgb(0 0 0/.3);--shade:37 99 235;--for:214 84 26;--against:37 99 235;
--c0:#1f5fd0;--c1:#b4460b;--c2:#0b7a57;--c3:#8a3ab9;--c4:#8a6500;--c5:#b0256b}
@media screen and (prefers-color-scheme:dark){:root{--back:#14161a;--ink:#e9ebef;--soft:#a7aeba;--line:#3a404b;
--raise:#1d2026;--link:#8fb6ff;--edge:rgb(255 255 255/.35);--shade:76 132 235;--for:222 104 44;--against:76 132 235;
--c0:#7aa9ff;--c1:#ff9d5c;--c2:#52d3a4;--c3:#cf9bf0;--c4:#e0b84a;--c5:#ff8fc2}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--back);color:var(--ink);overflow-wrap:anywhere;
font:1rem/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.25rem;margin:0 0 .75rem}
h3{font-size:1.05rem;margin:1.25rem 0 .5rem}
p{margin:.5rem 0;max-width:46rem}
header p,.soft,figcaption,caption{color:var(--soft)}
a{color:var(--link)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.chief{display:flex;flex-wrap:wrap;gap:.5rem;margin:1rem 0}
.chief div{background:var(--raise);border:1px solid var(--line);border-radius:.5rem;padding:.5rem .9rem}
.chief dt{color:var(--soft);font-size:.85rem}
.chief dd{margin:0;font-size:1.3rem;font-variant-numeric:tabular-nums}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;margin:1rem 0;padding:0}
section{border-top:1px solid var(--line);padding-top:1rem;margin-top:1.5rem}
.scroll{overflow-x:auto;margin:.75rem 0;background:
linear-gradient(to right,var(--back) 40%,transparent) 0 0/2rem 100% no-repeat local,
linear-gradient(to left,var(--back) 40%,transparent) 100% 0/2rem 100% no-repeat local,
linear-gradient(to right,var(--edge),transparent) 0 0/.8rem 100% no-repeat scroll,
linear-gradient(to left,var(--edge),transparent) 100% 0/.8rem 100% no-repeat scroll}
table{min-width:min(26rem,100%);border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.25rem 0;max-width:min(46rem,calc(100vw - 2rem))}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;font-weight:400;
overflow-wrap:normal}
thead th{color:var(--soft);border-bottom:2px solid var(--line);vertical-align:bottom}
tbody th{font-weight:600}
.n{text-align:right;white-space:nowrap}
.pairs td{overflow-wrap:anywhere;min-width:9rem}
td bdi,th bdi{display:inline-block;max-width:18rem;overflow-wrap:break-word;white-space:pre-wrap}
td bdi{min-width:min(14rem,55vw);max-width:30rem}
td bdi.short{min-width:0;max-width:14rem}
.shaded td{background:rgb(var(--shade) / var(--a));min-width:2.6rem}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:1rem;align-items:start}
figure{margin:.5rem 0;max-width:32rem}
figure.wide{max-width:42rem}
figcaption{font-size:.92rem;margin-bottom:.25rem}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
@media (max-width:30rem){.wide svg text{font-size:19px}}
.axis{stroke:var(--soft);fill:none}
.rule{stroke:var(--line);fill:none}
.chance{stroke:var(--soft);stroke-dasharray:2 3;fill:none}
.c{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
.dot,.bar{stroke:none}
.dot{fill-opacity:.55}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1);stroke-dasharray:6 5}.c2{stroke:var(--c2);stroke-dasharray:1 4}
.c3{stroke:var(--c3);stroke-dasharray:9 5 1 5}.c4{stroke:var(--c4);stroke-dasharray:12 5}
.c5{stroke:var(--c5);stroke-dasharray:3 4 1 4}
.dot,.bar,.m0{fill:var(--c0)}.m1{fill:var(--c1)}.m2{fill:var(--c2)}.m3{fill:var(--c3)}.m4{fill:var(--c4)}
.m5{fill:var(--c5)}
.up{fill:rgb(var(--for))}.down{fill:rgb(var(--against))}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;list-style:none;margin:.25rem 0 0;padding:0;font-size:.85rem}
.legend svg{display:inline-block;width:28px;height:8px;vertical-align:middle;margin-right:.35rem}
.tokens{line-height:2;max-width:none}
.tokens span{padding:.15rem .1rem;border-bottom:2px solid transparent;white-space:pre-wrap}
.tokens.apart span{padding:.15rem .3rem;margin-right:.15rem}
.tokens .plus{background:rgb(var(--for) / var(--a));border-bottom-color:rgb(var(--for) / var(--b))}
.tokens .minus{background:rgb(var(--against) / var(--a));border-bottom:2px dotted rgb(var(--against) / var(--b))}
.case{border:1px solid var(--line);border-radius:.5rem;padding:.25rem 1rem .5rem;margin:1rem 0}
details{margin:.75rem 0}
summary{cursor:pointer;color:var(--link)}
footer{border-top:1px solid var(--line);margin-top:2rem;font-size:.85rem}
footer p{color:var(--soft)}
@page{margin:1.5cm}
@media print{details:not([open]){display:none}
figure.wide{max-width:30rem}body{max-width:none;padding:0;font-size:10pt}nav{display:none}.scroll{overflow:visible;background:none}
h2,h3,caption,thead{break-after:avoid}tbody tr:nth-child(-n+3){break-before:avoid}
figure,.case,.chief div,tr{break-inside:avoid}
.grid{grid-template-columns:1fr 1fr}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
