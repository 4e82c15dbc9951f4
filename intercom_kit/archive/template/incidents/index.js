"use strict";
(() => {
  const table = document.getElementById("incidents");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const search = document.getElementById("search");
  const found = document.getElementById("found");
  search.closest("p").hidden = false;
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = words.get(row);
      row.hidden = !wanted.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    found.textContent = wanted.length ? `${shown} of ${rows.length}` : "";
  });

  const value = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    return text === "" ? null : isNaN(text) ? text.toLowerCase() : Number(text);
  };
  const compare = (a, b, down) => {
    if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last, either way
    return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
  };
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = rows.map((row) => [value(row, column), row]);
      keyed.sort((a, b) => compare(a[0], b[0], down));
      body.append(...keyed.map((pair) => pair[1]));
    });
  });
})();
