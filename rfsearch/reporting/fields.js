/* Layers to sort, filter and look at: a chosen layer's field is drawn on a picture. Everything is
   in the page; without this script the tables stand as they are. */
(function () {
  "use strict";
  const source = document.getElementById("field-data");
  if (!source) { return; }
  const data = JSON.parse(source.textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const KEYS = {
    field: "field", field_no_gates: "field without gates", field_min: "smallest field",
    effective_90: "effective, 90 %", effective_50: "effective, 50 %",
  };
  const MARGIN = 0.6;  /* of the image's side: how far beyond its border the picture goes */
  const panels = [];

  function shape(name, attributes) {
    const node = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) { node.setAttribute(key, value); }
    return node;
  }

  function same(a, b) { return a && b && a.every(function (value, i) { return value === b[i]; }); }

  function size(box) { return box[2] === box[3] ? String(box[2]) : box[2] + " × " + box[3]; }

  function panel(root) {
    const network = data.networks[Number(root.dataset.network)];
    const [height, width] = network.size;
    const rows = Array.from(root.querySelectorAll("tbody tr"));
    const body = root.querySelector("tbody");
    const names = rows.map(function (row) { return row.querySelector("th").textContent; });
    const find = function (selector) { return root.querySelector(selector); };
    const buttons = rows.map(function (row, i) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = names[i];
      row.querySelector("th").replaceChildren(button);
      row.addEventListener("click", function () { choose(i, true); });
      return button;
    });
    let chosen = network.first;

    function boxesOf(i) {
      /* Kinds that coincide are told once, by the first of them. */
      const found = {};
      for (const kind of Object.keys(KEYS)) {
        const box = network.layers[i].boxes[kind];
        if (box && !Object.values(found).some(function (other) { return same(other, box); })) {
          found[kind] = box;
        }
      }
      return found;
    }

    function draw() {
      const layer = network.layers[chosen];
      const boxes = boxesOf(chosen);
      const reach = [0, 0, height, width];
      for (const box of Object.values(boxes)) {
        reach[0] = Math.min(reach[0], Math.max(box[0], -MARGIN * height));
        reach[1] = Math.min(reach[1], Math.max(box[1], -MARGIN * width));
        reach[2] = Math.max(reach[2], Math.min(box[0] + box[2], (1 + MARGIN) * height));
        reach[3] = Math.max(reach[3], Math.min(box[1] + box[3], (1 + MARGIN) * width));
      }
      const pad = 0.02 * Math.max(height, width);
      const view = [reach[1] - pad, reach[0] - pad, reach[3] - reach[1] + 2 * pad, reach[2] - reach[0] + 2 * pad];
      const svg = shape("svg", { viewBox: view.join(" "), role: "img", "aria-label": sentence(chosen) });
      const picture = find(".picture") ? data.pictures[Number(find(".picture").value)] : data.pictures[0];
      if (picture) {
        svg.append(shape("image", { href: picture.url, x: 0, y: 0, width: width, height: height, preserveAspectRatio: "none" }));
      }
      if (layer.mass && find(".mass").checked) {
        svg.append(shape("image", { href: layer.mass, x: 0, y: 0, width: width, height: height, preserveAspectRatio: "none" }));
      }
      const box = layer.boxes.field;
      if (box) {  /* what it does not see is veiled */
        const outer = "M" + view[0] + " " + view[1] + "h" + view[2] + "v" + view[3] + "h" + -view[2] + "z";
        const inner = "M" + box[1] + " " + box[0] + "h" + box[3] + "v" + box[2] + "h" + -box[3] + "z";
        svg.append(shape("path", { class: "outside", d: outer + inner, "fill-rule": "evenodd" }));
      }
      svg.append(shape("rect", { class: "frame", x: 0, y: 0, width: width, height: height }));
      for (const [kind, one] of Object.entries(boxes)) {
        svg.append(shape("rect", { class: "box " + kind, "data-kind": kind, x: one[1], y: one[0], width: one[3], height: one[2] }));
      }
      find(".stage").replaceChildren(svg);
      find(".keys").replaceChildren(...Object.entries(boxes).map(function ([kind, one]) {
        const item = document.createElement("li");
        const line = shape("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
        line.append(shape("path", { class: "box " + kind, d: "M0 4H26", "stroke-width": 2.5 }));
        item.append(line, KEYS[kind] + " " + size(one));
        return item;
      }));
      find(".show-mass").hidden = !layer.mass;
    }

    function sentence(i) {
      const boxes = network.layers[i].boxes;
      const box = boxes.field;
      if (!box) { return names[i] + ": its output is no map, so it has no centre unit to draw."; }
      const seen = boxes.seen || clipped(box);
      const share = seen[2] * seen[3] / (height * width);
      let text = names[i] + ": the field of its centre unit is " + size(box) + " pixels; inside the image it sees rows " +
        seen[0] + " to " + (seen[0] + seen[2] - 1) + " and columns " + seen[1] + " to " + (seen[1] + seen[3] - 1) + ", " +
        (share >= 0.9995 ? "the whole of it." : (100 * share).toFixed(share < 0.1 ? 1 : 0) + " % of it.");
      if (boxes.effective_90) { text += " 90 % of its gradient lies within " + size(boxes.effective_90) + "."; }
      return text;
    }

    function clipped(box) {
      const top = Math.max(box[0], 0), left = Math.max(box[1], 0);
      return [top, left, Math.min(box[0] + box[2], height) - top, Math.min(box[1] + box[3], width) - left];
    }

    function choose(i, together) {
      chosen = i;
      rows.forEach(function (row, k) {
        row.classList.toggle("current", k === i);
        if (k === i) { buttons[k].setAttribute("aria-current", "true"); } else { buttons[k].removeAttribute("aria-current"); }
      });
      find(".chosen").textContent = sentence(i);
      draw();
      if (together) {  /* the layer of that name in the other network, too */
        for (const other of panels) { if (other.root !== root) { other.chooseName(names[i]); } }
      }
    }

    function chooseName(name) {
      const i = names.indexOf(name);
      if (i >= 0) { choose(i, false); }
    }

    function filter() {
      const words = find(".words").value.trim().toLowerCase();
      const kind = find(".kind").value;
      const all = find(".all") ? find(".all").checked : true;
      let shown = 0;
      rows.forEach(function (row, i) {
        const fits = names[i].toLowerCase().includes(words) &&
          (!kind || row.children[1].textContent === kind) &&
          (!find(".idle").checked || "idle" in row.dataset) &&
          (all || kind || words || !("quiet" in row.dataset));
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      });
      find(".count").textContent = shown + " of " + rows.length + " layers";
    }

    function value(row, column) {
      const cell = row.children[column];
      const text = cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent;
      if (text === "") { return null; }
      return isNaN(text) ? text : Number(text);
    }

    const heads = Array.from(root.querySelectorAll("thead th"));
    heads.forEach(function (head, column) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", function () {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const order = rows.map(function (row, i) { return [column ? value(row, column) : i, i, row]; });
        order.sort(function (a, b) {
          if (a[0] === null || b[0] === null) { return (a[0] === null) - (b[0] === null) || a[1] - b[1]; }
          const least = a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
          return (down ? -least : least) || a[1] - b[1];
        });
        body.append(...order.map(function (one) { return one[2]; }));
      });
    });

    body.addEventListener("keydown", function (event) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || event.altKey || event.ctrlKey || event.metaKey) { return; }
      const shown = Array.from(body.children).filter(function (row) { return !row.hidden; });
      const here = shown.indexOf(event.target.closest("tr"));
      const next = shown[here + step];
      if (next) { event.preventDefault(); next.querySelector("button").focus(); }
    });
    const form = find(".filters");
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    if (find(".picture")) { find(".picture").addEventListener("change", draw); }
    find(".mass").addEventListener("change", draw);
    find(".view").hidden = data.pictures.length === 0;
    filter();
    choose(chosen, false);
    const frame = find(".layers");
    frame.scrollTop = rows[chosen].offsetTop - frame.clientHeight / 2;
    return { root: root, chooseName: chooseName };
  }

  panels.push(...Array.from(document.querySelectorAll(".network"), panel));
})();
