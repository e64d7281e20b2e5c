// How the inbox element looks. Everything that a page may want to change is a variable or a part.

export const STYLE = `
:host {
  --accent: var(--carillon-accent, light-dark(#3451d1, #9db2ff));
  --on-accent: var(--carillon-on-accent, light-dark(#fff, #10131c));
  --surface: var(--carillon-surface, light-dark(#fff, #171a21));
  --raised: var(--carillon-raised, light-dark(#f4f5f8, #222630));
  --text: var(--carillon-text, light-dark(#171a21, #eceef3));
  --muted: var(--carillon-muted, light-dark(#596070, #a3abbb));
  --line: var(--carillon-line, light-dark(#e4e7ed, #2c313c));
  --badge: var(--carillon-badge, light-dark(#c62839, #ff8a94));
  --on-badge: var(--carillon-on-badge, light-dark(#fff, #2a0508));
  --radius: var(--carillon-radius, 14px);
  color-scheme: light dark;
  display: inline-block;
  position: relative;
  color: var(--text);
  font: 14px/1.45 var(--carillon-font, system-ui, sans-serif);
  text-align: start;
}
:host([theme="light"]) { color-scheme: light; }
:host([theme="dark"]) { color-scheme: dark; }
:host([hidden]), [hidden] { display: none !important; }
*, *::before { box-sizing: border-box; }
button { font: inherit; color: inherit; background: none; border: 0; margin: 0; padding: 0; cursor: pointer; }
button:disabled { cursor: default; }
:focus { outline: none; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
svg { display: block; inline-size: 1em; block-size: 1em; fill: none; stroke: currentColor; stroke-width: 1.75; stroke-linecap: round; stroke-linejoin: round; }
.bell { position: relative; display: grid; place-items: center; inline-size: 40px; block-size: 40px; border-radius: 50%; font-size: 21px; }
.bell:hover, .bell[aria-expanded="true"] { background: var(--raised); }
.count { position: absolute; inset-block-start: 1px; inset-inline-start: 21px; min-inline-size: 18px; padding-inline: 5px;
  border-radius: 9px; background: var(--badge); color: var(--on-badge); box-shadow: 0 0 0 2px var(--surface);
  font: 600 11px/18px var(--carillon-font, system-ui, sans-serif); font-variant-numeric: tabular-nums; text-align: center; white-space: nowrap; }
.panel { position: absolute; z-index: var(--carillon-z-index, 1000); inset-block-start: calc(100% + 8px); inset-inline-end: 0;
  display: flex; flex-direction: column; inline-size: min(408px, 100vw - 24px); max-block-size: min(640px, 100vh - 88px);
  background: var(--surface); border: 1px solid var(--line); border-radius: var(--radius); overflow: hidden;
  box-shadow: 0 1px 2px rgb(15 20 35 / .06), 0 16px 48px -8px rgb(15 20 35 / .22); animation: appear .14s ease-out; }
:host([placement="start"]) .panel { inset-inline: 0 auto; }
.panel:focus-visible { outline-offset: -2px; }
@keyframes appear { from { opacity: 0; transform: translateY(-4px); } }
header { display: flex; align-items: center; gap: 4px; padding: 14px 10px 8px 18px; }
:dir(rtl) header { padding: 14px 18px 8px 10px; }
h2 { flex: 1; margin: 0; font-size: 16px; line-height: 1.3; font-weight: 650; letter-spacing: -.01em; }
.quiet { padding: 6px 10px; border-radius: 8px; color: var(--accent); font-size: 13px; font-weight: 550; }
.quiet:hover:not(:disabled) { background: var(--raised); }
.quiet:disabled { visibility: hidden; }
.icon { display: grid; place-items: center; inline-size: 32px; block-size: 32px; border-radius: 8px; color: var(--muted); font-size: 17px; }
.icon:hover { background: var(--raised); color: var(--text); }
.filters { display: flex; gap: 4px; padding: 0 14px 12px; border-block-end: 1px solid var(--line); }
.filters button { padding: 5px 12px; border-radius: 99px; color: var(--muted); font-size: 13px; font-weight: 550; }
.filters button:hover { color: var(--text); background: var(--raised); }
.filters button[aria-pressed="true"] { background: var(--raised); color: var(--text); }
.note { display: flex; align-items: center; gap: 8px; margin: 0; padding: 9px 18px; background: var(--raised); color: var(--muted); font-size: 13px; }
.note span { flex: 1; overflow-wrap: anywhere; }
.scroll { position: relative; flex: 1; min-block-size: 0; overflow-y: auto; overscroll-behavior: contain; scrollbar-width: thin; }
.scroll:focus-visible { outline-offset: -2px; }
.fresh { position: sticky; z-index: 2; inset-block-start: 10px; display: block; block-size: 30px; margin: 0 auto -30px; padding: 0 14px; border-radius: 99px;
  background: var(--accent); color: var(--on-accent); font-size: 13px; font-weight: 600; box-shadow: 0 4px 14px rgb(15 20 35 / .25); }
ul { list-style: none; margin: 0; padding: 0; }
li { position: relative; display: flex; align-items: flex-start; border-block-end: 1px solid var(--line); content-visibility: auto; contain-intrinsic-size: auto 76px; }
li:last-child { border-block-end: 0; }
li:hover { background: color-mix(in srgb, var(--raised) 55%, transparent); }
.main { flex: 1; min-inline-size: 0; display: grid; grid-template-columns: 20px 1fr; column-gap: 12px; padding-block: 13px; padding-inline: 18px 0; color: inherit; text-align: start; text-decoration: none; }
.main:focus-visible { outline-offset: -3px; border-radius: 8px; }
.level { grid-row: span 3; margin-block-start: 1px; font-size: 18px; color: var(--muted); }
:is(li, .toast)[data-level="success"] .level { color: light-dark(#1b7f4b, #6fd6a0); }
:is(li, .toast)[data-level="warning"] .level { color: light-dark(#9a6200, #f2bd5c); }
:is(li, .toast)[data-level="error"] .level { color: light-dark(#c62839, #ff8a94); }
.name, .body { overflow-wrap: anywhere; display: -webkit-box; -webkit-box-orient: vertical; overflow: hidden; unicode-bidi: isolate; }
.name { -webkit-line-clamp: 2; color: var(--muted); }
.body { -webkit-line-clamp: 3; margin-block-start: 2px; color: var(--muted); font-size: 13px; }
li[data-unread] .name { color: var(--text); font-weight: 600; }
.when { margin-block-start: 4px; color: var(--muted); font-size: 12px; }
a.main:hover .name { text-decoration: underline; text-underline-offset: 2px; }
.actions { display: flex; padding-block: 8px; padding-inline: 4px 10px; }
.toggle::before { content: ""; inline-size: 9px; block-size: 9px; border: 1.5px solid currentColor; border-radius: 50%; }
li[data-unread] .toggle::before { background: var(--accent); border-color: var(--accent); }
@media (hover: hover) {
  li:not(:hover, :focus-within) .archive, li:not(:hover, :focus-within, [data-unread]) .toggle { opacity: 0; }
}
.state { display: grid; justify-items: center; gap: 10px; padding: 56px 32px; color: var(--muted); text-align: center; }
.state svg { font-size: 34px; stroke-width: 1.25; }
.older { display: block; inline-size: 100%; padding: 13px; color: var(--accent); font-size: 13px; font-weight: 550; border-block-start: 1px solid var(--line); }
.older:hover { background: var(--raised); }
:host([inline]) { display: block; }
:host([inline]) :is(.bell, .close) { display: none; }
:host([inline]) .panel { position: static; inline-size: auto; max-block-size: 640px; box-shadow: none; animation: none; border-radius: var(--radius); }
.toasts { position: fixed; inset-block: auto 16px; inset-inline: auto 16px; flex-direction: column-reverse; gap: 10px; inline-size: min(360px, 100vw - 32px); margin: 0; padding: 0;
  border: 0; overflow: visible; color: inherit; background: none; }
.toasts:popover-open { display: flex; }
.toast { display: flex; align-items: flex-start; padding-inline-end: 8px; border: 1px solid var(--line); border-radius: var(--radius); background: var(--surface);
  box-shadow: 0 1px 2px rgb(15 20 35 / .06), 0 12px 40px -8px rgb(15 20 35 / .3); animation: rise .18s ease-out; }
.toast .main { padding-inline-start: 16px; }
.toast .main:focus-visible { outline-offset: -3px; border-radius: var(--radius); }
.toast .name { color: var(--text); font-weight: 600; }
.toast .when { display: none; }
.dismiss { margin-block-start: 8px; }
@keyframes rise { from { opacity: 0; transform: translateY(8px); } }
.hush { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 480px) {
  :host(:not([inline])) .panel { position: fixed; inset: auto 0 0; inline-size: auto; max-block-size: min(88vh, 88dvh); border-radius: var(--radius) var(--radius) 0 0; border-inline: 0; border-block-end: 0; }
  .icon { inline-size: 40px; block-size: 40px; }
}
@media (prefers-reduced-motion: reduce) { .panel, .toast { animation: none; } }
@media (forced-colors: active) { .count, .fresh { border: 1px solid; } li[data-unread] .toggle::before { background: Highlight; } }
`;
