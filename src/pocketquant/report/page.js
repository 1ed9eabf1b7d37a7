"use strict";
(() => {
  const table = document.getElementById("tensors-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);

  // Sorting: numbers by their full value (data-v), text by itself; a second click turns the order around.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (!("v" in cell.dataset)) return cell.textContent;
    const value = cell.dataset.v;
    return value === "inf" ? Infinity : value === "-inf" || value === "nan" ? -Infinity : Number(value);
  };
  const compare = (a, b) =>
    typeof a === "number" ? (a < b ? -1 : a > b ? 1 : 0) : a.localeCompare(b, "en", { numeric: true });
  table.tHead.querySelectorAll("th").forEach((head, column, heads) => {
    head.firstElementChild.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.sort((a, b) => (down ? -1 : 1) * compare(key(a, column), key(b, column)));
      body.append(...rows);
    });
  });

  // Filtering: name, part and scheme together.
  const find = document.getElementById("find");
  const part = document.getElementById("part");
  const scheme = document.getElementById("scheme");
  const shown = document.getElementById("shown");
  const filter = () => {
    const word = find.value.trim().toLowerCase();
    let count = 0;
    let bytes = 0;
    for (const row of rows) {
      const fits =
        (!part.value || row.dataset.part === part.value) &&
        (!scheme.value || row.dataset.scheme === scheme.value) &&
        row.cells[0].textContent.toLowerCase().includes(word);
      row.hidden = !fits;
      if (fits) {
        count += 1;
        bytes += Number(row.dataset.size);
      }
    }
    shown.textContent = `${count} of ${rows.length} tensors, ${(bytes / 1e6).toFixed(2)} MB`;
  };
  [find, part, scheme].forEach((control) => control.addEventListener("input", filter));
  find.form.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // Tooltips: the SVG titles, but at once and on touch.
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let active = null;
  const hide = () => {
    if (active) active.classList.remove("on");
    active = null;
    tip.hidden = true;
  };
  const show = (dot) => {
    hide();
    active = dot;
    dot.classList.add("on");
    tip.textContent = dot.dataset.tip;
    tip.hidden = false;
    const box = dot.getBoundingClientRect();
    const left = Math.min(box.left - 8, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(left, 8) + window.scrollX}px`;
    tip.style.top = `${(above < 4 ? box.bottom + 8 : above) + window.scrollY}px`;
  };
  document.querySelectorAll(".dot").forEach((dot) => {
    const title = dot.querySelector("title");
    dot.dataset.tip = title.textContent;
    title.remove();
    dot.addEventListener("pointerenter", () => show(dot));
    dot.addEventListener("pointerleave", hide);
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
})();
