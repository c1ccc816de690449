// Sections as tabs, with the address's hash as their memory.

/** Connects the tabs of a list with the panels that they control. `onShow(id)` hears which panel is shown. */
export function connectTabs(list, onShow) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

  function show(chosen) {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
      panelOf(tab).hidden = !on;
    }
    onShow(panelOf(chosen).id);
  }

  function choose(tab) {
    history.replaceState(null, "", `#${panelOf(tab).id}`);
    show(tab);
  }

  const named = () => tabs.find((tab) => `#${panelOf(tab).id}` === location.hash) ?? tabs[0];
  list.addEventListener("click", (event) => {
    const tab = event.target.closest("[role=tab]");
    if (tab) choose(tab);
  });
  list.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    const tab = tabs.at(next % tabs.length);
    tab.focus();
    choose(tab);
  });
  addEventListener("hashchange", () => show(named()));
  show(named());
}
