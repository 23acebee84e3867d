// Tabs after the ARIA pattern: arrow keys, Home and End move and choose; the address remembers the view.

import { byId } from "./dom.js";

/**
 * @param {HTMLElement} main what holds the panels
 * @param {Record<string, {show?: () => void, hide?: () => void}>} views by the id of their panel
 */
export function startTabs(main, views) {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  let shown = null;

  function choose(tab) {
    const name = tab.getAttribute("aria-controls");
    if (name === shown) return;
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
    }
    for (const panel of main.children) panel.hidden = panel.id !== name;
    views[shown]?.hide?.();
    shown = name;
    views[name].show?.();
    history.replaceState(null, "", `#${name}`);
  }

  function move(event) {
    const last = tabs.length - 1;
    const at = tabs.indexOf(event.target);
    const right = at === last ? 0 : at + 1;
    const left = at === 0 ? last : at - 1;
    const next = { ArrowRight: right, ArrowLeft: left, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    tabs[next].focus();
    choose(tabs[next]);
  }

  for (const tab of tabs) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", move);
  }
  const wanted = () => byId(`tab-${location.hash.slice(1)}`) ?? tabs[0];
  addEventListener("hashchange", () => choose(wanted()));
  choose(wanted());
}
