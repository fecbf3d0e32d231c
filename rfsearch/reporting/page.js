/* Draws the charts and follows the theme: light values are exchanged for dark ones by value. */
(function () {
  "use strict";
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = JSON.parse(document.getElementById("dark-colours").textContent);
  const charts = Array.from(document.querySelectorAll(".chart"), function (node) {
    return { node: node, spec: node.nextElementSibling.textContent };
  });

  function remembered() {
    try { return window.localStorage.getItem("rfsearch-theme"); } catch (error) { return null; }
  }

  function remember(theme) {
    try { window.localStorage.setItem("rfsearch-theme", theme); } catch (error) { /* private */ }
  }

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : system.matches;
  }

  function themed(value) {
    if (typeof value === "string") { return Object.hasOwn(dark, value) ? dark[value] : value; }
    if (Array.isArray(value)) { return value.map(themed); }
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, themed(one)]));
    }
    return value;
  }

  function draw() {
    const config = { displayModeBar: false, responsive: true, doubleClick: false };
    for (const chart of charts) {
      let spec = JSON.parse(chart.spec);
      if (isDark()) { spec = themed(spec); }
      window.Plotly.react(chart.node, spec.data, spec.layout, config);
    }
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  }

  const stored = remembered();
  if (stored === "dark" || stored === "light") { root.dataset.theme = stored; }
  button.hidden = false;
  button.addEventListener("click", function () {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    draw();
  });
  system.addEventListener("change", draw);
  draw();
})();
